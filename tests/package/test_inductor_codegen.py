"""What inductor generates for cuda: the results, devices, strides and random numbers of the same code uncompiled."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch._inductor import config
from torch.nn import functional

from tests.conftest import RunPython

pytestmark = [
    pytest.mark.usefixtures("fresh_dynamo"),
    pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Profiler record function"),
]


def assert_same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected)
    assert (actual.device, actual.stride()) == (expected.device, expected.stride())


def test_results_are_those_of_the_same_code_uncompiled() -> None:
    weight = torch.randn(5, 3, 3, 3, device="cuda")

    def program(x: Tensor, image: Tensor, on_cpu: Tensor, scalar: Tensor) -> list[Tensor]:
        x.mul_(1.5)
        return [
            torch.softmax(x.sin() + x.mean(0), -1),
            scalar * x,
            on_cpu.cuda() + x,
            x.cpu() * 2 + on_cpu,
            functional.relu(functional.conv2d(image, weight)),
            x.t(),
            torch.arange(4, device="cuda") * x.argmax(),
            (x @ x.t()).to(torch.bfloat16).tanh(),
            functional.layer_norm(x, (6,)),
        ]

    image = torch.randn(2, 3, 8, 8, device="cuda").to(memory_format=torch.channels_last)
    on_cpu, scalar = torch.randn(4, 6), torch.tensor(3.0)
    x = torch.randn(4, 6, device="cuda")
    y = x.clone()
    results = torch.compile(program)(x, image, on_cpu, scalar)
    for actual, expected in zip(results, program(y, image, on_cpu, scalar), strict=True):
        assert_same(actual, expected)
    assert_same(x, y)
    assert results[5].untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


def test_a_training_step() -> None:
    """Losses and gradients, with the same random numbers, of what a transformer is made of."""

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = torch.nn.Linear(16, 48)
            self.norm = torch.nn.LayerNorm(16)
            self.mlp = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.GELU(), torch.nn.Linear(32, 16))

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.attention(self.norm(x)).unflatten(-1, (3, 2, 8)).unbind(-3)
            q, k, v = (part.transpose(1, 2) for part in (q, k, v))
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=0.1)
            return functional.dropout(self.mlp(x + y.transpose(1, 2).flatten(2)), 0.2).square().mean()

    block = Block().cuda()
    compiled_block = copy.deepcopy(block)
    compiled = torch.compile(compiled_block)
    x = torch.randn(3, 10, 16, device="cuda")
    with config.patch(fallback_random=True):
        for function in (block, compiled):
            torch.cuda.manual_seed(1)
            with torch.autocast("cuda", dtype=torch.bfloat16):
                loss = function(x)
            loss.backward()
    for expected, actual in zip(block.parameters(), compiled_block.parameters(), strict=True):
        torch.testing.assert_close(actual.grad, expected.grad, rtol=0.05, atol=0.002)


def test_random_numbers_are_the_cuda_generators() -> None:
    compiled = torch.compile(lambda x: functional.dropout(x, 0.5) + torch.randn_like(x))
    x = torch.ones(1000, device="cuda")
    cpu_state = torch.random.get_rng_state()
    torch.cuda.manual_seed(1)
    first, second = compiled(x), compiled(x)
    assert not torch.equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), cpu_state)
    torch.cuda.manual_seed(1)
    assert torch.equal(compiled(x), first)
    assert abs(first.mean().item() - 1) < 0.2


def test_dynamic_sizes_and_branches_are_compiled_once() -> None:
    from torch._dynamo.utils import counters

    branches = (lambda x: x.sin() * x.shape[0], lambda x: x.cos() + 1)
    compiled = torch.compile(lambda x: torch.cond(x.sum() > 0, *branches, (x,)), dynamic=True)
    counters.clear()
    for rows in (3, 7, 12):
        for sign in (1, -1):
            x = sign * torch.ones(rows, 5, device="cuda")
            assert_same(compiled(x), branches[sign < 0](x))
    assert counters["stats"]["unique_graphs"] == 1


def test_compiled_code_is_cached() -> None:
    from torch._dynamo.utils import counters

    counters.clear()
    for _ in range(2):
        torch._dynamo.reset()
        assert torch.compile(lambda x: x * 3 + 1)(torch.ones(4, device="cuda")).tolist() == [4] * 4
    assert counters["aot_autograd"]["autograd_cache_hit"] > 0


def test_cached_code_is_for_one_number_of_threads() -> None:
    from torch._dynamo.utils import counters

    x, before = torch.ones(100_000, device="cuda"), torch.get_num_threads()
    counters.clear()
    try:
        with torch._inductor.utils.fresh_cache():
            for threads in (1, 2, 1):
                torch.set_num_threads(threads)
                torch._dynamo.reset()
                torch.compile(lambda x: x * 3 + 2)(x)
    finally:
        torch.set_num_threads(before)
    assert counters["aot_autograd"]["autograd_cache_miss"] == 2
    assert counters["aot_autograd"]["autograd_cache_hit"] == 1


@pytest.mark.parametrize(
    "program",
    [
        lambda x, i: x[i] + 1,
        lambda x, i: functional.embedding(i, x[:, None]) + 1,
        lambda x, i: x.index_put((i,), torch.zeros_like(i, dtype=x.dtype)) + 1,
        lambda x, i: functional.cross_entropy(x[None], i),
    ],
    ids=["index", "embedding", "index_put", "cross_entropy"],
)
def test_a_wrong_index_raises_as_uncompiled(program: str) -> None:
    compiled = torch.compile(program)
    x = torch.rand(5, device="cuda")
    right, wrong = (torch.tensor([value], device="cuda") for value in (4, 5))
    assert_same(compiled(x, right), program(x, right))
    with pytest.raises(torch.AcceleratorError, match="CUDA error: device-side assert triggered"):
        program(x, wrong)
    with pytest.raises(torch.AcceleratorError, match="\ntorch.compile: index out of bounds: 0 <= ") as error:
        compiled(x, wrong)
    assert str(error.value).startswith("CUDA error: device-side assert triggered\n")
    assert error.value.error_code == 710
    assert_same(compiled(x, right), program(x, right))


def test_a_wrong_index_raises_from_any_thread(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        compiled = torch.compile(lambda x, i: (x[i] + 1, x[i].sum()))
        x, indices = torch.ones(5, device="cuda"), torch.zeros(300_000, dtype=torch.long, device="cuda")
        for place in (250_000, 10):
            indices[place] = 5
            try:
                compiled(x, indices)
            except torch.AcceleratorError:
                indices[place] = 0
            else:
                raise SystemExit("nothing raised")
            assert compiled(x, indices)[1].item() == 300_000
        """,
        OMP_NUM_THREADS="2",
    )


def test_each_buffer_is_on_its_device(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        first, second = (torch.randn(64, 64, device=f"cuda:{i}") for i in range(2))
        def program(first, second):
            return torch.softmax(second.sin(), -1) @ second, (second.to(0) * 2 + first).relu()
        results = torch.compile(program)(first, second)
        assert [result.device.index for result in results] == [1, 0]
        for actual, reference in zip(results, program(first, second)):
            torch.testing.assert_close(actual, reference)
        assert torch.cuda.current_device() == 0
        """,
        TORCHDEVICE_COUNT="2",
    )


def test_streams_in_compiled_code() -> None:
    side = torch.cuda.Stream()

    def program(x: Tensor) -> Tensor:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            y = x * 2
        z = x.sin()
        torch.cuda.current_stream().wait_stream(side)
        return y + z

    x, current = torch.randn(5, device="cuda"), torch.cuda.current_stream()
    assert_same(torch.compile(program, fullgraph=True)(x), program(x))
    assert torch.cuda.current_stream() == current


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_a_capture_takes_compiled_functions(mode: str) -> None:
    """With what they compute by generated kernels and by operators, across a break of the graph, and random numbers."""

    def program(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        x.mul_(2)
        y = x.sin() @ weight
        torch._dynamo.graph_break()
        return y + 1, functional.dropout(y.cos(), 0.5)

    x, weight = torch.randn(70, 70, device="cuda"), torch.randn(70, 3, device="cuda")
    compiled = torch.compile(program, mode=mode)
    for _ in range(2):
        compiled(x.clone(), weight)
    before = x.clone()
    graph = torch.cuda.CUDAGraph()
    with torch._dynamo.config.patch(error_on_recompile=True), torch.cuda.graph(graph):
        y, dropped = compiled(x, weight)
    assert torch.equal(x, before)
    masks = []
    for factor in (2, 4):
        graph.replay()
        torch.testing.assert_close(x, factor * before)
        expected = (factor * before).sin() @ weight
        torch.testing.assert_close(y, expected + 1)
        masks.append(dropped == 0)
        torch.testing.assert_close(dropped, torch.where(masks[-1], 0, 2 * expected.cos()))
    assert not torch.equal(*masks)
    compiled(x, weight)
    torch.testing.assert_close(x, 8 * before)


def test_a_capture_takes_a_compiled_training_step() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 1)).cuda()
    twin = copy.deepcopy(model)
    compiled, x = torch.compile(model), torch.randn(5, 4, device="cuda")

    def step(network: torch.nn.Module, parameters: torch.nn.Module) -> None:
        network(x).square().mean().backward()
        with torch.no_grad():
            for parameter in parameters.parameters():
                parameter -= 0.1 * parameter.grad  # type: ignore[misc]
                parameter.grad.zero_()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            step(compiled, model)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch._dynamo.config.patch(error_on_recompile=True), torch.cuda.graph(graph):
        step(compiled, model)
    for _ in range(3):
        graph.replay()
    for _ in range(5):
        step(twin, twin)
    torch.testing.assert_close(list(model.parameters()), list(twin.parameters()))


@pytest.mark.filterwarnings("ignore:The CUDA Graph is empty")
def test_dynamo_refuses_to_compile_in_a_capture() -> None:
    x = torch.ones(3, device="cuda")
    with (
        pytest.raises(Exception, match="current_seed during CUDA graph capture"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        torch.compile(lambda x: x + 1)(x)
    assert (x + 1).tolist() == [2, 2, 2]
