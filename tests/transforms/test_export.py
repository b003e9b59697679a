"""torch.export and torch.compile's capture on cuda: programs keep their device, also through files."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export
from torch.export.passes import move_to_device_pass

CUDA = torch.device("cuda", 0)


class Block(nn.Module):
    """Parameters, a buffer that changes, a constant, attention and a factory."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 24)
        self.norm = nn.LayerNorm(8)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        q, k, v = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in self.project(self.norm(x)).chunk(3, -1))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        return mixed + torch.arange(x.shape[1], device=x.device)[:, None] + x.new_ones(())


def exported(device: str, **options: Any) -> tuple[Block, Tensor, ExportedProgram]:
    torch.manual_seed(0)
    block = Block().to(device).eval()
    x = torch.randn(2, 5, 8).to(device)
    return block, x, export(block, (x,), **options)


@pytest.mark.parametrize("strict", [False, True])
def test_a_program_is_its_module(strict: bool) -> None:
    block, x, program = exported("cuda", strict=strict)
    torch.testing.assert_close(program.module()(x), block(x))
    values = [node.meta["val"] for node in program.graph.nodes if isinstance(node.meta.get("val"), Tensor)]
    assert {value.device for value in values} == {CUDA}


def test_cuda_exports_the_cpus_operators() -> None:
    targets = [[str(n.target) for n in exported(device)[2].graph.nodes] for device in ("cpu", "cuda")]
    assert targets[0] == targets[1]


def test_decomposed_and_with_dynamic_shapes() -> None:
    block, _, program = exported("cuda", dynamic_shapes=({0: Dim("batch"), 1: Dim("length", min=2)},))
    x = torch.randn(4, 9, 8, device="cuda")
    torch.testing.assert_close(program.run_decompositions().module()(x), block(x))


def test_a_program_through_a_file() -> None:
    block, x, program = exported("cuda")
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file)
    assert {value.device for value in loaded.state_dict.values()} == {CUDA}
    torch.testing.assert_close(loaded.module()(x), block(x))


def test_a_program_moves() -> None:
    block, x, program = exported("cpu")
    moved = move_to_device_pass(program, "cuda:0").module()
    torch.testing.assert_close(moved(x.cuda()).cpu(), block(x))


def test_training() -> None:
    """aot_eager traces forward and backward ahead of time, by fake tensors' strides."""
    block, x, _ = exported("cuda")
    compiled = torch.compile(block, backend="aot_eager")
    for run in (block, compiled):
        block.zero_grad()
        run(x).square().sum().backward()
        gradients = [p.grad.clone() for p in block.parameters()]
        if run is block:
            expected = gradients
    torch.testing.assert_close(gradients, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("features", [8, 6])
def test_traced_attention_is_laid_out_as_its_trace_says(dtype: torch.dtype, features: int) -> None:
    def heads_together(q: Tensor) -> tuple[Tensor, Tensor]:
        y = nn.functional.scaled_dot_product_attention(q, q, q)
        return (y.transpose(1, 2).reshape(2, 5, -1), y.reshape(2, -1))

    q = torch.randn(2, 3, 5, features, device="cuda", dtype=dtype, requires_grad=True)
    for layout in (q, q.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()):
        compiled = torch.compile(heads_together, backend="aot_eager")(layout)
        torch.testing.assert_close(compiled, heads_together(layout))
        (gradient,) = torch.autograd.grad(sum(part.sum() for part in compiled), layout)
        assert gradient.shape == layout.shape
