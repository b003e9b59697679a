"""Trains a Llama on random tokens, sharded over the ranks by FSDP.

torchdevice fit --profile h100 --ranks 8 benchmarks/fit/llama.py --size 8b
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.functional import cross_entropy, scaled_dot_product_attention, silu
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts


class Size(NamedTuple):
    width: int
    layers: int
    heads: int
    groups: int  #: of heads that share keys and values
    inner: int
    vocabulary: int = 128256


SIZES = {
    "tiny": Size(256, 4, 8, 4, 512, 1024),
    "8b": Size(4096, 32, 32, 8, 14336),
    "70b": Size(8192, 80, 64, 8, 28672),
}


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * angles).flatten(3).type_as(x)


class Attention(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        head = size.width // size.heads
        self.q = nn.Linear(size.width, size.heads * head, bias=False)
        self.k = nn.Linear(size.width, size.groups * head, bias=False)
        self.v = nn.Linear(size.width, size.groups * head, bias=False)
        self.out = nn.Linear(size.heads * head, size.width, bias=False)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q = rotate(self.q(x).view(batch, length, self.size.heads, -1), angles)
        k = rotate(self.k(x).view(batch, length, self.size.groups, -1), angles)
        v = self.v(x).view(batch, length, self.size.groups, -1)
        share = self.size.heads // self.size.groups
        q, k, v = (one.transpose(1, 2) for one in (q, k.repeat_interleave(share, 2), v.repeat_interleave(share, 2)))
        y = scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(batch, length, -1))


class FeedForward(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.gate = nn.Linear(size.width, size.inner, bias=False)
        self.up = nn.Linear(size.width, size.inner, bias=False)
        self.down = nn.Linear(size.inner, size.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(silu(self.gate(x)) * self.up(x))


class Layer(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.before_attention = nn.RMSNorm(size.width)
        self.attention = Attention(size)
        self.before_feed_forward = nn.RMSNorm(size.width)
        self.feed_forward = FeedForward(size)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        x = x + self.attention(self.before_attention(x), angles)
        return x + self.feed_forward(self.before_feed_forward(x))


def contexts() -> Any:
    """Selective checkpointing: keeps attention, and every second product."""
    products = dict.fromkeys((False, True), 0)

    def policy(context: Any, operator: Any, *_arguments: Any, **_named: Any) -> CheckpointPolicy:
        if "scaled_dot_product" in str(operator):
            return CheckpointPolicy.MUST_SAVE
        if operator is torch.ops.aten.mm.default:
            products[context.is_recompute] += 1
            if products[context.is_recompute] % 2:
                return CheckpointPolicy.MUST_SAVE
        return CheckpointPolicy.PREFER_RECOMPUTE

    return create_selective_checkpoint_contexts(policy)


class Llama(nn.Module):
    def __init__(self, size: Size, length: int, checkpointing: str) -> None:
        super().__init__()
        self.tokens = nn.Embedding(size.vocabulary, size.width)
        self.layers = nn.ModuleList(Layer(size) for _ in range(size.layers))
        self.norm = nn.RMSNorm(size.width)
        self.head = nn.Linear(size.width, size.vocabulary, bias=False)
        self.register_buffer("angles", torch.empty(length, 1, size.width // size.heads // 2, dtype=torch.complex64))
        self.checkpointing = checkpointing

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens)
        for layer in self.layers:
            if self.checkpointing == "none":
                x = layer(x, self.angles)
            elif self.checkpointing == "full":
                x = checkpoint(layer, x, self.angles, use_reentrant=False)
            else:
                x = checkpoint(layer, x, self.angles, use_reentrant=False, context_fn=contexts)
        return self.head(self.norm(x))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--batch", type=int, default=1, help="of each rank")
    parser.add_argument("--length", type=int, default=8192)
    parser.add_argument("--checkpointing", choices=["none", "selective", "full"], default="full")
    parser.add_argument("--steps", type=int, default=2)
    options = parser.parse_args()
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl")
    mesh = init_device_mesh("cuda", (dist.get_world_size(),))
    size = SIZES[options.size]
    with torch.device("meta"):
        model = Llama(size, options.length, options.checkpointing)
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    shard = partial(fully_shard, mesh=mesh, mp_policy=policy)
    for layer in model.layers:
        shard(layer)
    shard(model)
    model.to_empty(device="cuda")
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.02)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    for _ in range(options.steps):
        tokens = torch.randint(size.vocabulary, (options.batch, options.length + 1), device="cuda")
        logits = model(tokens[:, :-1])
        loss = cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())
        del logits
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad()
    print(f"loss {loss.item():.3f}, {torch.cuda.max_memory_allocated()} bytes at most")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
