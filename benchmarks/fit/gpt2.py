"""Trains a GPT-2 on random tokens.

torchdevice fit --profile h100 benchmarks/fit/gpt2.py --size xl --batch 4
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention


class Size(NamedTuple):
    width: int
    layers: int
    heads: int
    vocabulary: int = 50257


SIZES = {"tiny": Size(128, 3, 4, 1000), "small": Size(768, 12, 12), "xl": Size(1600, 48, 25)}


class Layer(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.before_attention, self.before_mlp = nn.LayerNorm(size.width), nn.LayerNorm(size.width)
        self.qkv, self.out = nn.Linear(size.width, 3 * size.width), nn.Linear(size.width, size.width)
        self.mlp = nn.Sequential(
            nn.Linear(size.width, 4 * size.width), nn.GELU(approximate="tanh"), nn.Linear(4 * size.width, size.width)
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = self.qkv(self.before_attention(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, -1))
        return x + self.mlp(self.before_mlp(x))


class GPT2(nn.Module):
    def __init__(self, size: Size, length: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(size.vocabulary, size.width), nn.Embedding(length, size.width)
        self.layers = nn.ModuleList(Layer(size) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.width)
        self.head = nn.Linear(size.width, size.vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.places.weight[: tokens.size(1)]
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--float32", action="store_true", help="no bfloat16 autocast")
    options = parser.parse_args()
    torch.manual_seed(0)
    size = SIZES[options.size]
    with torch.device("cuda"):
        model = GPT2(size, options.length)
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(options.steps):
        tokens = torch.randint(size.vocabulary, (options.batch, options.length + 1), device="cuda")
        with torch.autocast("cuda", torch.bfloat16, enabled=not options.float32):
            loss = cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    print(f"{torch.cuda.max_memory_allocated()} bytes at most")


if __name__ == "__main__":
    main()
