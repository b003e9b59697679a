"""A small GPT: decoder-only transformer with rotary positions and a tied output layer.

Nothing here knows on which device it runs; shapes are written B (batch), T (time), H (heads), C (width).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


@dataclass(frozen=True)
class GPTConfig:
    """The sizes of a model; `width` is split evenly over `heads` and rotary positions need an even part."""

    vocabulary: int = 256
    context: int = 128
    layers: int = 4
    heads: int = 4
    width: int = 128
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("vocabulary", "context", "layers", "heads", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} does not split into {self.heads} heads of even size; "
                f"use a multiple of {2 * self.heads}"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), not {self.dropout}")


class Attention(nn.Module):
    """Causal self-attention over (B, T, C)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.dropout
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, time, width = x.shape
        qkv = self.qkv(x).view(batch, time, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()  # each (B, H, T, C/H)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0, is_causal=True)
        merged: Tensor = self.out(y.transpose(1, 2).reshape(batch, time, width))
        return merged


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair of features of `x` (B, H, T, C/H) by an angle that grows with its position."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


class Block(nn.Module):
    """Attention and a four times wider MLP, each behind a layer norm and added to the residual stream."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width)
        self.attention = Attention(config)
        self.norm2 = nn.LayerNorm(config.width)
        self.up = nn.Linear(config.width, 4 * config.width)
        self.down = nn.Linear(4 * config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), cos, sin))
        y: Tensor = self.dropout(self.down(F.gelu(self.up(self.norm2(x)))))
        return x + y


class GPT(nn.Module):
    """Predicts the next token: (B, T) int64 tokens to (B, T, vocabulary) logits, T at most `config.context`."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        half = config.width // config.heads // 2
        angles = torch.outer(torch.arange(config.context), 10_000.0 ** (-torch.arange(half) / half))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        # 2 * layers branches add up in the residual stream: scaled so that their sum keeps its variance.
        if isinstance(module, Attention):
            nn.init.normal_(module.out.weight, std=0.02 / math.sqrt(2 * self.config.layers))
        if isinstance(module, Block):
            nn.init.normal_(module.down.weight, std=0.02 / math.sqrt(2 * self.config.layers))

    def forward(self, tokens: Tensor) -> Tensor:
        time = tokens.shape[1]
        if time > self.config.context:
            raise ValueError(f"{time} tokens do not fit the model's context of {self.config.context}")
        x = self.dropout(self.embedding(tokens))
        for block in self.blocks:
            x = block(x, self.cos[:time], self.sin[:time])
        return F.linear(self.norm(x), self.embedding.weight)

    def loss(self, chunk: Tensor) -> Tensor:
        """Mean cross entropy in nats of predicting `chunk[:, 1:]` from `chunk[:, :-1]`; `chunk` is (B, T + 1)."""
        logits = self(chunk[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1).float(), chunk[:, 1:].flatten())

    @torch.inference_mode()
    def generate(
        self, tokens: Tensor, count: int, temperature: float, top_k: int, generator: torch.Generator
    ) -> Tensor:
        """Append `count` sampled tokens to `tokens` (B, T).

        Each is drawn from the `top_k` likeliest (0: from all) at `temperature` (> 0), with `generator`, which
        must live on the model's device.
        """
        was_training = self.training
        self.eval()
        for _ in range(count):
            logits = self(tokens[:, -self.config.context :])[:, -1].float() / temperature
            if top_k:
                kept = logits.topk(min(top_k, logits.shape[-1])).values
                logits = logits.masked_fill(logits < kept[:, -1:], -math.inf)
            following = torch.multinomial(logits.softmax(-1), 1, generator=generator)
            tokens = torch.cat((tokens, following), dim=1)
        self.train(was_training)
        return tokens
