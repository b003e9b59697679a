"""Memory that is read before anybody has written it, each way with a twin that writes it first."""

from __future__ import annotations

import torch

N = 1024


def sum_of_empty() -> None:
    torch.empty(N, device="cuda").sum()


def sum_of_empty_mended() -> None:
    torch.zeros(N, device="cuda").sum()


def added_to_empty() -> None:
    x = torch.ones(N, device="cuda")
    total = torch.empty_like(x)
    total += x


def added_to_empty_mended() -> None:
    x = torch.ones(N, device="cuda")
    total = torch.zeros_like(x)
    total += x


def last_row() -> None:
    x = torch.empty(8, N, device="cuda")
    for row in range(7):
        x[row] = row
    x.mean()


def last_row_mended() -> None:
    x = torch.empty(8, N, device="cuda")
    for row in range(8):
        x[row] = row
    x.mean()


def last_column() -> None:
    x = torch.empty(N, 8, device="cuda")
    x[:, :7] = 1
    x.exp()


def last_column_mended() -> None:
    """What was not written is not read."""
    x = torch.empty(N, 8, device="cuda")
    x[:, :7] = 1
    x[:, :7].exp()


def halves() -> None:
    x = torch.empty(N, device="cuda", dtype=torch.float16)
    x[: N // 2] = 1
    x.float().relu()
    x.relu()


def halves_mended() -> None:
    x = torch.empty(N, device="cuda", dtype=torch.float16)
    x[: N // 2] = 1
    x[N // 2 :] = 1
    x.relu()


def integers() -> None:
    torch.empty(N, device="cuda", dtype=torch.int64).max()


def integers_mended() -> None:
    """-1 is a number like any other once it is written."""
    torch.full((N,), -1, device="cuda").max()


def product_with_empty() -> None:
    x = torch.ones(32, 32, device="cuda")
    torch.empty(32, 32, device="cuda") @ x


def product_with_empty_mended() -> None:
    """With beta=0 nobody looks at the first matrix."""
    x = torch.ones(32, 32, device="cuda")
    torch.addmm(torch.empty(32, 32, device="cuda"), x, x, beta=0)


def parameter_without_values() -> None:
    layer = torch.nn.utils.skip_init(torch.nn.Linear, 8, 8, device="cuda")
    layer(torch.ones(1, 8, device="cuda"))


def parameter_without_values_mended() -> None:
    layer = torch.nn.utils.skip_init(torch.nn.Linear, 8, 8, device="cuda")
    with torch.no_grad():
        torch.nn.init.ones_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    layer(torch.ones(1, 8, device="cuda"))


def read_by_the_host() -> None:
    torch.empty(N, device="cuda").tolist()


def read_by_the_host_mended() -> None:
    x = torch.empty(N, device="cuda")
    torch.add(torch.ones(N, device="cuda"), 1, out=x)
    x.tolist()


def copied_and_then_read() -> None:
    x = torch.empty(N, device="cuda")
    y = x.clone()
    z = torch.zeros_like(y).copy_(y)
    z.sum()


def copied_and_then_read_mended() -> None:
    """A copy alone is no use."""
    x = torch.empty(N, device="cuda")
    y = x.clone()
    y.fill_(1).sum()


def reused_memory() -> None:
    x = torch.ones(N, device="cuda")
    del x
    torch.empty(N, device="cuda").sum()


def reused_memory_mended() -> None:
    x = torch.ones(N, device="cuda")
    del x
    torch.empty(N, device="cuda").normal_().sum()


def grown_by_resize() -> None:
    x = torch.ones(4, device="cuda")
    x.resize_(N).sum()


def grown_by_resize_mended() -> None:
    x = torch.ones(4, device="cuda")
    x.resize_(N)[:4].sum()


def gathered_from_nothing() -> None:
    table = torch.empty(N, device="cuda")
    table[torch.tensor([1, 2], device="cuda")]


def gathered_from_nothing_mended() -> None:
    """Which part is read depends on data."""
    table = torch.empty(N, device="cuda")
    table[:8] = 1
    table[torch.tensor([1, 2], device="cuda")]
