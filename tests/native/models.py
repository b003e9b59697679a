"""Four small models, each with a step of training and of inference on cuda."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Block(nn.Module):
    """A layer of GPT."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.projections, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.projections(self.first(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.output(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.second(x))


class Gpt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(50, 32), nn.Embedding(16, 32)
        self.blocks = nn.Sequential(Block(32, 4), Block(32, 4), nn.LayerNorm(32), nn.Linear(32, 50))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.blocks(self.tokens(tokens) + self.places(torch.arange(tokens.shape[1], device=tokens.device)))


class Vit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 4, 4)
        self.name, self.places = nn.Parameter(torch.zeros(1, 1, 32)), nn.Parameter(torch.zeros(1, 17, 32))
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2)
        self.head = nn.Linear(32, 10)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = self.patches(pictures).flatten(2).transpose(1, 2)
        x = torch.cat([self.name.expand(len(x), -1, -1), x], 1) + self.places
        return self.head(self.encoder(x)[:, 0])


class Unet(nn.Module):
    def __init__(self) -> None:
        super().__init__()

        def convolution(inputs: int, outputs: int) -> nn.Module:
            return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())

        self.down, self.bottom = convolution(1, 8), nn.Sequential(convolution(8, 16), nn.GroupNorm(2, 16))
        self.up, self.join, self.head = nn.ConvTranspose2d(16, 8, 2, 2), convolution(16, 8), nn.Conv2d(8, 2, 1)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        wide = self.down(pictures)
        deep = F.interpolate(self.bottom(F.max_pool2d(wide, 4)), scale_factor=2, mode="bilinear")
        return self.head(self.join(torch.cat([wide, self.up(deep)], 1)))


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(50, 16), nn.Linear(48, 50)
        self.layers = nn.LSTM(16, 24, 2, batch_first=True, dropout=0.1, bidirectional=True)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(self.tokens(tokens))[0])


MODELS: dict[str, Callable[[], nn.Module]] = {"GPT": Gpt, "ViT": Vit, "UNet": Unet, "LSTM": Lstm}


def data_for(model: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets."""
    if model in ("GPT", "LSTM"):
        tokens = torch.randint(50, (4, 16)).cuda()
        return tokens, tokens
    pictures = torch.randn(4, 3 if model == "ViT" else 1, 16, 16).cuda()
    return pictures, torch.arange(4).cuda() if model == "ViT" else (pictures[:, 0] > 0).long()


def make_steps(name: str, half: bool) -> tuple[Callable[[], None], Callable[[], None]]:
    """A step of training, and one of inference, of that model."""
    torch.manual_seed(0)
    model = MODELS[name]().cuda()
    inputs, targets = data_for(name)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cuda", enabled=half)

    def train() -> None:
        model.train()
        with torch.autocast("cuda", torch.float16, enabled=half):
            outputs = model(inputs)
            loss = F.cross_entropy(
                outputs.flatten(0, 1) if outputs.dim() == 3 else outputs,
                targets.flatten(0, 1) if outputs.dim() == 3 else targets,
            )
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    def infer() -> None:
        model.eval()
        with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=half):
            model(inputs).sum()

    return train, infer
