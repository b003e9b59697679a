"""Values that a GPU's kernels assert not to be there, and twins without them."""

from __future__ import annotations

import contextlib

import torch
from torch.nn import functional


def index() -> None:
    with contextlib.suppress(RuntimeError):
        torch.arange(4, device="cuda")[torch.tensor([5], device="cuda")]


def index_mended() -> None:
    torch.arange(4, device="cuda")[torch.tensor([3], device="cuda")]


def token() -> None:
    table = torch.ones(8, 2, device="cuda")
    with contextlib.suppress(RuntimeError):
        functional.embedding(torch.tensor([8], device="cuda"), table)


def token_mended() -> None:
    table = torch.ones(8, 2, device="cuda")
    functional.embedding(torch.tensor([7], device="cuda"), table)


def label() -> None:
    scores = torch.ones(1, 3, device="cuda")
    with contextlib.suppress(RuntimeError):
        functional.cross_entropy(scores, torch.tensor([3], device="cuda"))


def label_mended() -> None:
    scores = torch.ones(1, 3, device="cuda")
    functional.cross_entropy(scores, torch.tensor([2], device="cuda"))


def probability() -> None:
    with contextlib.suppress(RuntimeError):
        functional.binary_cross_entropy(torch.full((2,), 1.5, device="cuda"), torch.ones(2, device="cuda"))


def probability_mended() -> None:
    functional.binary_cross_entropy(torch.full((2,), 0.5, device="cuda"), torch.ones(2, device="cuda"))
