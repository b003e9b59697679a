"""Time of one training step of the example's GPT, cuda over native CPU, in turns within one process."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))

from gpt import GPT, GPTConfig

BATCH, CONTEXT = 8, 128


class Training:
    """The example's model and batch on one device."""

    def __init__(self, device: str) -> None:
        torch.manual_seed(0)
        self.model = GPT(GPTConfig(context=CONTEXT, layers=4, heads=4, width=128)).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True)
        self.tokens = torch.randint(256, (BATCH, CONTEXT + 1)).to(device)

    def step(self) -> float:
        """Seconds of forward, backward and update."""
        start = time.perf_counter()
        logits = self.model(self.tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), self.tokens[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad()
        loss.item()
        return time.perf_counter() - start


def ratio(steps: int = 60) -> float:
    """Median of the ratios of neighbouring steps."""
    cuda, cpu = Training("cuda"), Training("cpu")
    for _ in range(10):
        cuda.step()
        cpu.step()
    return statistics.median(cuda.step() / cpu.step() for _ in range(steps))


if __name__ == "__main__":
    print(f"GPT training step, fp32, cuda over cpu: {ratio():.3f}")
