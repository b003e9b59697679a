"""torch.compile on cuda tensors: which graphs inductor gets, and what happens where it cannot serve; TorchScript."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import RunPython
from torchdevice import _C
from torchdevice.patches import warn
from torchdevice.patches.inductor import switch

UNCOMPILED = (
    "torchdevice runs such graphs through backend='aot_eager' instead: same results, no speed-up. Name that backend "
    "yourself to silence this."
)

pytestmark = [
    pytest.mark.usefixtures("fresh_dynamo"),
    pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def test_torch_is_imported_without_dynamo(run_python: RunPython) -> None:
    run_python("import torch, sys; assert not {'torch._dynamo', 'torch._inductor'} & sys.modules.keys()")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "reduce-overhead"},
        {"mode": "max-autotune"},
        {"dynamic": True},
        {"options": {"triton.cudagraphs": True, "cpp_wrapper": True}},
        {"backend": "aot_eager"},
        {"backend": "cudagraphs"},
        {"backend": "eager"},
    ],
    ids=str,
)
def test_forward_and_backward(options: dict[str, object]) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 2)).cuda()
    compiled = torch.compile(model, **options)
    for rows in (3, 5):
        x = torch.randn(rows, 4, device="cuda", requires_grad=True)
        (expected,) = torch.autograd.grad(model(x).sum(), x)
        y = compiled(x)
        assert y.is_cuda
        torch.testing.assert_close(y, model(x))
        torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], expected)


def test_a_graph_that_makes_its_own_cuda_tensors() -> None:
    @torch.compile
    def ones(count: int) -> torch.Tensor:
        return torch.ones(count, device="cuda") * 2

    assert ones(3).tolist() == [2, 2, 2]


def test_training_step_with_autocast_and_optimizer() -> None:
    def train(compile_step: bool) -> tuple[list[float], torch.nn.Linear]:
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 4).cuda()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        x = torch.ones(2, 4, device="cuda")

        def step() -> torch.Tensor:
            with torch.autocast("cuda", dtype=torch.bfloat16):
                loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        if compile_step:
            step = torch.compile(step)
        return [step().item() for _ in range(5)], model

    losses, model = train(compile_step=True)
    expected_losses, expected = train(compile_step=False)
    assert losses == pytest.approx(expected_losses, rel=0.02)
    assert losses[-1] < losses[0]
    torch.testing.assert_close(model.weight, expected.weight, rtol=0.02, atol=1e-3)


def test_foreach_operators_with_combined_kernels() -> None:
    def program(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        return list(torch._foreach_add(torch._foreach_mul(tensors, 2), 1))

    tensors = [torch.randn(count, device="cuda") for count in (3, 5, 7)]
    compiled = torch.compile(program, options={"combo_kernels": True})
    torch.testing.assert_close(compiled(tensors), program(tensors))


def test_the_old_entry_point() -> None:
    model = torch.nn.Linear(2, 2).cuda()
    x = torch.ones(1, 2, device="cuda")
    torch.testing.assert_close(torch._dynamo.optimize("inductor")(model)(x), model(x))


def test_without_a_compiler_graphs_run_uncompiled_which_is_said_once(run_python: RunPython) -> None:
    process = run_python(
        """
        import torch
        f = lambda x: x.sin() + 1
        torch.compile(f, backend="aot_eager")(torch.ones(3, device="cuda"))
        print("quiet")
        for shape in (3, (4, 4)):
            torch._dynamo.reset()
            assert torch.equal(torch.compile(f)(torch.ones(shape, device="cuda")), f(torch.ones(shape, device="cuda")))
        """,
        CXX="no-such-compiler",
    )
    assert process.stdout == "quiet\n"
    assert process.stderr.count("torch.compile: inductor generates C++ for graphs on device cuda, but") == 1
    assert UNCOMPILED in process.stderr


def test_flex_attention_runs_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.nn.attention.flex_attention import flex_attention

    monkeypatch.setattr(warn, "_said", set())
    q = torch.randn(1, 2, 40, 16, device="cuda", requires_grad=True)
    with pytest.warns(
        UserWarning, match="kernels of flex_attention on device cuda in Triton only; torchdevice runs such"
    ):
        result = torch.compile(flex_attention)(q, q, q)
    torch.testing.assert_close(result, torch.nn.functional.scaled_dot_product_attention(q, q, q))
    result.sum().backward()
    assert q.grad is not None


def test_no_library_ahead_of_time(tmp_path: Path) -> None:
    x = torch.ones(3, device="cuda")
    exported = torch.export.export(torch.nn.ReLU(), (x,))
    assert torch.equal(exported.module()(x), x)
    with pytest.raises(NotImplementedError, match="export the model on device cpu, or use torch.compile."):
        torch._inductor.aoti_compile_and_package(exported, package_path=str(tmp_path / "model.pt2"))


def test_other_graphs_are_left_to_inductor() -> None:
    from functorch.compile import make_boxed_func
    from torch._inductor import compile_fx

    seen = []

    def spy(graph: torch.fx.GraphModule, inputs: list[torch.Tensor], **_: object) -> Any:
        seen.append(torch._inductor.config.triton.cudagraphs)
        return make_boxed_func(graph.forward)

    with torch._inductor.config.patch({"triton.cudagraphs": True}):
        compiled = torch.compile(lambda x: x.sin() + 1, backend=lambda m, i: compile_fx.compile_fx(m, i, spy))
        for device in ("cpu", "cuda"):
            compiled(torch.ones(3, device=device))
    assert seen == [True, False]


def test_a_graph_that_aot_eager_refuses_runs_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.backends import registry

    def refuse(name: str) -> Any:
        def backend(*_: object) -> None:
            raise NotImplementedError("not this graph")

        return backend

    monkeypatch.setattr(registry, "lookup_backend", refuse)
    monkeypatch.setattr(warn, "_said", set())
    graph = torch.fx.symbolic_trace(torch.nn.Linear(2, 2).cuda())
    x = torch.ones(1, 2, device="cuda")
    with pytest.warns(
        UserWarning, match=r"does not take a graph on device cuda \(NotImplementedError: not this graph\)"
    ):
        function = switch._run_uncompiled(graph, [x])
    torch.testing.assert_close(function(x), graph(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_modules_on_cuda(tmp_path: Path) -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.linear(x)
            if bool(x.sum() > 0):
                y = torch.relu(y)
            return y * torch.ones(3, device=x.device)

    model, x = Model().cuda(), torch.ones(2, 3, device="cuda")
    scripted = torch.jit.script(model)
    for _ in range(3):  # the profiling executor optimizes after the second run
        y = scripted(x)
        y.sum().backward()
        assert torch.equal(y, model(x))
    traced = torch.jit.trace(torch.nn.Linear(3, 3).cuda(), x)
    traced.save(str(tmp_path / "traced.pt"))
    loaded = torch.jit.load(str(tmp_path / "traced.pt"))
    assert loaded(x).is_cuda
    assert torch.equal(loaded(x), traced(x))
    assert torch.jit.load(str(tmp_path / "traced.pt"), map_location="cpu")(x.cpu()).device.type == "cpu"
    assert torch.jit.freeze(scripted.eval())(x).is_cuda


@pytest.mark.skipif(sys.platform == "darwin", reason="collect_env asks other tools there")
def test_collect_env(run_python: RunPython) -> None:
    process = run_python("import runpy; runpy.run_module('torch.utils.collect_env', run_name='__main__')")
    assert "CUDA used to build PyTorch: 12.6" in process.stdout
    assert "Is CUDA available: True" in process.stdout


COMPILER = """#!/bin/sh
for argument in "$@"; do
  case "$argument" in
    *.cpp) if grep -q "$WORD" "$argument"; then
      echo "$argument:7:3: error: nobody knows $WORD" >&2; exit 1
    fi;;
  esac
done
exec g++ "$@"
"""

REJECTED = """
    import warnings
    import torch
    x = torch.rand(8, device="cuda", requires_grad=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compiled = torch.compile(lambda x: x.sin().sum() + x.exp().prod())
        for _ in range(2):
            compiled(x).backward()
    (grad,) = torch.autograd.grad(x.sin().sum() + x.exp().prod(), x)
    torch.testing.assert_close(x.grad, 2 * grad)
    print(*(one.message for one in caught if "torchdevice" in str(one.message)), sep="\\n")
"""


@pytest.mark.skipif(_C.native_backend_name() != "cpu", reason="inductor's code is the CPU's")
@pytest.mark.parametrize("word", ["sin()", "cos()"], ids=["forward", "backward"])
def test_code_that_does_not_compile_is_run_and_said_once(run_python: RunPython, tmp_path: Path, word: str) -> None:
    compiler = tmp_path / "g++"
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    process = run_python(REJECTED, CXX=str(compiler), WORD=word, TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache"))
    assert process.stdout.splitlines() == [
        f"torch.compile: inductor's code for a graph on device cuda does not compile (nobody knows {word}); "
        "torchdevice runs this graph operator by operator: same results, no speed-up."
    ]
