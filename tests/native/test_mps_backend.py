"""The MPS backend over the simulated MPS: order of work, memory, what falls back and what does not (make test-mps)."""

from __future__ import annotations

import threading

import pytest
import torch

from tests.conftest import RunPython
from tests.native.counted import Counted, simulated
from torchdevice import _C

pytestmark = pytest.mark.skipif(_C.native_backend_name() != "mps", reason="for the MPS backend: make test-mps")


def pending() -> int:
    """Work that the simulated GPU has not done yet."""
    return simulated("submitted") - simulated("done")


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, device="cuda")


def test_work_is_late() -> None:
    torch.cuda.synchronize()
    x = vector(1, 2) + 1
    assert pending() > 0
    torch.cuda.synchronize()
    assert pending() == 0
    assert x.tolist() == [2, 3]


def test_the_cpu_waits_for_what_was_submitted() -> None:
    x, seven = torch.ones(1000, device="cuda"), vector(7)
    for _ in range(5):
        x = x * 2
    with Counted() as counted:
        result = torch.heaviside(x - 32, seven)  # has no MPS kernel
    assert counted.calls("aten::heaviside") == (0, 1)
    assert counted["transitions"] == 1
    assert result.unique().tolist() == [7]


def test_results_of_the_cpu_are_there_for_mps() -> None:
    x = torch.heaviside(vector(-1, 0, 1), vector(0.5))
    assert (x * 2 + 1).tolist() == [1, 2, 3]


def test_in_place_on_the_cpu_between_native_operators() -> None:
    x = vector(-1, 0, 1)
    x.add_(1)
    x.heaviside_(vector(0.25))
    x.mul_(4)
    assert x.tolist() == [1, 4, 4]


def test_a_resized_result_of_the_cpu() -> None:
    out = torch.empty(0, device="cuda")
    torch.heaviside(vector(-1, 0, 1), vector(0.5), out=out)
    assert out.tolist() == [0, 0.5, 1]
    assert (out + 1).tolist() == [1, 1.5, 2]


def test_waits_are_transitions() -> None:
    x = torch.rand(8, 8, device="cuda") + 1
    half = vector(0.5)
    transitions, was_native = 0, True
    torch.cuda.synchronize()
    x = x + 1
    with Counted() as counted:
        for i in range(100):
            falls_back = i % 10 in (2, 3, 7)
            transitions += falls_back and was_native
            x = torch.heaviside(x, half) if falls_back else x * 1.5
            was_native = not falls_back
    assert counted.calls("aten::heaviside") == (0, 30)
    assert counted["transitions"] == counted["synchronizations"] == transitions == 20
    assert counted["copied_bytes"] == 0


def test_float64_lives_on_cuda_and_is_computed_on_the_cpu() -> None:
    refusals = simulated("refusals")
    with Counted() as counted:
        x = torch.full((3,), 1 / 3, dtype=torch.float64, device="cuda")
        y = x * 3 + 1e-12
    assert simulated("refusals") == refusals, "MPS was not asked"
    assert y.dtype == torch.float64
    assert y.device == torch.device("cuda:0")
    assert y.tolist() == [1 / 3 * 3 + 1e-12] * 3
    assert counted.calls("aten::mul.Tensor") == (0, 1)
    assert counted["copied_bytes"] == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128, torch.float8_e4m3fn, torch.uint16])
def test_types_that_metal_lacks_come_and_go(dtype: torch.dtype) -> None:
    host = torch.arange(4).to(dtype)
    assert torch.equal(host.cuda().cpu().to(torch.complex128), host.to(torch.complex128))
    assert host.cuda().to(torch.float32).tolist() == [0, 1, 2, 3]


def test_integers_divided_under_another_default_type() -> None:
    x = torch.tensor([1, 2], device="cuda")
    assert (x / 3).dtype == torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        assert (x / 3).tolist() == [1 / 3, 2 / 3]
        assert (x / 3).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    with Counted() as counted:
        assert (x / 4).tolist() == [0.25, 0.5]
    assert counted.calls("aten::div.Tensor") == (1, 0)


def test_what_mps_refuses_is_done_by_the_cpu_and_remembered() -> None:
    x = vector(1, 2)[None]  # of a rank that no other test refuses
    refusals = simulated("refusals")
    with Counted() as counted:
        torch.ops.mps_simulator.half_applied_(x, True)
        assert x.tolist() == [[11, 12]]  # the kernel had added 1 before it refused
        torch.ops.mps_simulator.half_applied_(x, True)
        assert x.tolist() == [[21, 22]]
    assert counted.calls("mps_simulator::half_applied_") == (0, 2)
    assert simulated("refusals") == refusals + 1, "MPS was asked once"


def test_another_mode_is_not_refused() -> None:
    x = vector(1, 2)
    with Counted() as counted:
        torch.ops.mps_simulator.half_applied_(x, True)
        torch.ops.mps_simulator.half_applied_(x, False)
        torch.ops.mps_simulator.half_applied_(x, False)
    assert x.tolist() == [13, 14]
    assert counted.calls("mps_simulator::half_applied_") == (2, 1)


def test_a_call_without_elements_tells_nothing_of_others() -> None:
    # Composite: without elements it comes to its end before the operator that MPS does not have.
    result = torch.empty(0, device="cuda")
    torch.linalg.pinv(torch.empty(0, 0, device="cuda"), hermitian=True, out=result)
    torch.linalg.pinv(2 * torch.eye(2, device="cuda"), hermitian=True, out=result)
    assert result.tolist() == [[0.5, 0], [0, 0.5]]


def test_an_empty_out_of_lu_solve_is_resized() -> None:
    factors, pivots = torch.linalg.lu_factor(2 * torch.eye(2, device="cuda"))
    result = torch.empty(0, device="cuda")
    torch.linalg.lu_solve(factors, pivots, torch.eye(2, device="cuda"), out=result)
    assert result.tolist() == [[0.5, 0], [0, 0.5]]


def test_kernels_that_torchs_stubs_lack() -> None:
    x = torch.tensor([1 + 2j], device="cuda")
    with Counted() as counted:
        assert x.conj_physical_().tolist() == [1 - 2j]
    assert counted.calls("aten::conj_physical_") == (0, 1)


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        (0, RuntimeError, "shapes [2] and [3] do not match"),
        (1, IndexError, "index 7 is not supported by MPS tensors of size 3"),
        (2, ValueError, "MPS: a negative value is not supported"),
    ],
)
def test_errors_of_the_user_stay_errors(kind: int, error: type[Exception], text: str) -> None:
    with Counted() as counted, pytest.raises(error) as raised:
        torch.ops.mps_simulator.wrong_question(vector(1), kind)
    assert text in str(raised.value)
    assert counted.calls("mps_simulator::wrong_question") == (0, 0)


def test_wrong_shapes_are_errors_of_the_user() -> None:
    with Counted() as counted, pytest.raises(RuntimeError, match="The size of tensor a"):
        vector(1, 2) + vector(1, 2, 3)
    assert counted.calls("aten::add.Tensor") == (0, 0)


def test_copies_between_cuda_and_mps_tensors() -> None:
    on_mps = torch.arange(3.0, device="mps")
    with Counted() as counted:
        on_cuda = on_mps.to("cuda")
        back = (on_cuda * 2).to("mps")
    assert counted["synchronizations"] == 0
    assert back.device.type == "mps"
    assert on_cuda.device.type == "cuda"
    assert back.cpu().tolist() == [0, 2, 4]
    assert (on_mps + 1).cpu().tolist() == [1, 2, 3]


def test_copies_of_other_sizes_raise_before_anything_is_written() -> None:
    target, empty = vector(1), torch.empty(0, device="cuda")
    with pytest.raises(RuntimeError, match="output with shape .1. doesn't match the broadcast shape .2."):
        target.copy_(vector(5, 6))
    with pytest.raises(RuntimeError, match="The size of tensor a .0. must match"):
        empty.copy_(vector(5, 6))
    assert target.tolist() == [1]
    assert empty.numel() == 0


def test_mixing_cuda_and_mps_tensors_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="same device"):
        vector(1) + torch.ones(1, device="mps")


def test_events_are_passed_when_the_work_is_done() -> None:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    x = torch.rand(500, 500, device="cuda")
    for _ in range(5):
        x = x @ x
    end.record()
    assert not end.query()
    end.synchronize()
    assert end.query()
    assert start.elapsed_time(end) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_random_numbers_repeat(dtype: torch.dtype) -> None:
    def draw() -> torch.Tensor:
        torch.cuda.manual_seed(3)
        return torch.stack([torch.randn(4, device="cuda", dtype=dtype) for _ in range(3)]).cpu()

    first = draw()
    assert torch.equal(first, draw())
    assert first.unique().numel() == 12


def test_threads_go_over_and_back() -> None:
    """Each thread's CPU operators must see its own native ones, whoever is waiting meanwhile."""
    errors: list[str] = []

    def work(seed: int) -> None:
        for i in range(60):
            x = torch.full((64,), float(seed + i), device="cuda") + 1
            y = torch.heaviside(x - (seed + i + 1), vector(3))
            if y.unique().tolist() != [3]:
                errors.append(f"{seed} {i}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_an_access_to_the_data_pointer_faults(run_python: RunPython) -> None:
    process = run_python(
        """
        import ctypes, torch
        x = torch.ones(1, device="cuda")
        torch.cuda.synchronize()
        ctypes.c_float.from_address(x.data_ptr()).value
        """,
        check=False,
    )
    assert process.returncode == -11


@pytest.mark.parametrize("forced", ["mul.Tensor", "aten::mul", "add,mul", "other::later,mul"])
def test_operators_forced_to_the_cpu(run_python: RunPython, forced: str) -> None:
    run_python(
        """
        import torch
        from torchdevice import _C
        assert (torch.ones(2, device="cuda") * 3).tolist() == [3, 3]
        assert _C.fallback_counts()["operators"]["aten::mul.Tensor"] == (0, 1)
        """,
        TORCHDEVICE_FORCE_CPU_OPS=forced,
    )


def test_the_limit_of_memory_holds_for_what_kernels_return_too(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        from tests.memory import MIB, raw_mib
        def raises(make):
            try:
                make()
            except torch.OutOfMemoryError as error:
                return str(error).startswith("CUDA out of memory. MPS backend out of memory")
        assert torch.cuda.mem_get_info() == (50 * MIB, 50 * MIB)
        x = raw_mib(60, "cuda:1")  # all devices together
        x.zero_()  # no memory to save it first
        ooms = torch.cuda.memory_stats()["num_ooms"]
        cached = raw_mib(30)
        del cached
        y = raw_mib(35)  # after the cache has been given back
        assert raises(lambda: raw_mib(6))
        del y
        assert raises(lambda: x + 1), "made by a native kernel"
        assert raises(lambda: x[:20 * MIB].double()), "made by a kernel of the CPU"
        assert torch.cuda.memory_stats()["num_ooms"] == ooms + 3
        assert x.max().item() == 0
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(0.5)
        assert raises(lambda: raw_mib(6))
        torch.cuda.set_per_process_memory_fraction(1.0)
        raw_mib(6)
        """,
        TORCHDEVICE_MEMORY="50MiB",
        TORCHDEVICE_COUNT="2",
    )
