"""Every name of torch.cuda and torch._C._cuda_* with integers at the ends of their types: it works, or raises an error.

No number becomes another one by a cast, and no error asks for a bug report.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.conftest import RunPython

#: Where a cast to 8, 32 or 64 bits gives another number.
EXTREMES = (-(2**63), -(2**31), -129, -2, -1, 1, 99, 127, 128, 256, 300, 2**31, 2**32 - 1, 2**62 + 1, 2**63 - 1, 2**64)

SWEEP = """
    import os, resource, sys, warnings
    import torch
    import torch.cuda.comm

    warnings.simplefilter("ignore")
    torch.cuda.init()
    if "asan" not in os.environ.get("LD_PRELOAD", ""):  # its shadow of all memory takes terabytes
        resource.setrlimit(resource.RLIMIT_AS, (2**35, 2**35))
    EXTREMES = {extremes!r}
    #: They wait as long as they are told.
    WAIT = ("_cuda_sleep", "_sleep", "_busy_wait_for_flag")

    def functions():
        seen = set()
        for owner, prefix in (
            (torch._C, "_cuda_"), (torch._C._cudart, "cuda"), (torch._C._nvtx, ""), (torch.cuda, ""),
            (torch.cuda.memory, ""), (torch.cuda.random, ""), (torch.cuda.streams, ""), (torch.cuda.graphs, ""),
            (torch.cuda.nvtx, ""), (torch.cuda.comm, ""), (torch.cuda.nccl, ""), (torch.accelerator, ""),
        ):
            for name in sorted(dir(owner)):
                function = getattr(owner, name)
                if name.startswith(prefix) and not name.startswith("__") and callable(function):
                    if id(function) not in seen and name not in WAIT:
                        seen.add(id(function))
                        yield f"{{owner.__name__}}.{{name}}", function

    calls = 0
    for name, function in functions():
        for count in range(1, 5):
            takes = False
            for position in range(count):
                for value in EXTREMES:
                    arguments = [0] * count
                    arguments[position] = value
                    calls += 1
                    print(name, arguments, file=sys.stderr, flush=True)
                    try:
                        function(*arguments)
                        takes = True
                    except TypeError:
                        break
                    except Exception as error:
                        assert "please report" not in str(error), (name, arguments, error)
                        takes = True
            if takes and count > 2:
                break
    torch.cuda.set_sync_debug_mode(0)
    torch.cuda.set_device(0)
    torch.cuda.set_stream(torch.cuda.default_stream())
    torch.cuda.set_per_process_memory_fraction(1.0)
    assert (torch.ones(2, device="cuda") + 1).tolist() == [2, 2]
    print(calls)
"""


def test_sweep(run_python: RunPython, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))
    process = run_python(SWEEP.format(extremes=EXTREMES), check=False, timeout=300)
    assert process.returncode == 0, process.stderr[-2000:]
    assert int(process.stdout.split()[-1]) > 5000


TOO_LARGE = (-(2**31), -129, 128, 256, 300, 2**31)
ABSENT = (99, 127)
OVERFLOW = "^Overflow when unpacking DeviceIndex$"
ORDINAL = "^CUDA error: invalid device ordinal"


def stream_of(device: int) -> torch.cuda.Stream:
    return torch.cuda.Stream(stream_id=3, device_index=device, device_type=1)


#: What takes the index of a device in C++.
TAKE_DEVICES: list[Callable[[int], object]] = [
    stream_of,
    torch.cuda.set_device,
    torch.cuda.current_stream,
    torch.cuda.default_stream,
    torch.cuda.memory_stats,
    lambda device: torch.cuda.set_per_process_memory_fraction(0.5, device),
    lambda device: torch.cuda.get_stream_from_external(8, device),
    lambda device: torch._C._cuda_setStream(stream_id=0, device_index=device, device_type=1),
    lambda device: torch._C._cuda_hasPrimaryContext(device),
    lambda device: torch._C._cuda_getCurrentRawStream(device),
    lambda device: torch.ops.cuda._set_device(device),
    lambda device: torch.ops.cuda._exchange_device(device),
]


@pytest.mark.parametrize("call", TAKE_DEVICES)
@pytest.mark.parametrize("device", TOO_LARGE)
def test_a_number_that_is_no_index(call: Callable[[int], object], device: int) -> None:
    """Of 256 an eight-bit index would be 0."""
    before = torch.cuda.current_device(), torch.cuda.current_stream()
    if device < 0 and call in TAKE_DEVICES[1:2] + TAKE_DEVICES[-1:]:
        call(device)  # "whichever is current"
    else:
        with pytest.raises(RuntimeError, match=OVERFLOW):
            call(device)
    assert (torch.cuda.current_device(), torch.cuda.current_stream()) == before


@pytest.mark.parametrize("call", [torch.cuda.mem_get_info, torch.accelerator.current_stream])
@pytest.mark.parametrize("device", TOO_LARGE)
def test_a_number_that_pybind11_refuses(call: Callable[[int], object], device: int) -> None:
    """As in a CUDA build."""
    with pytest.raises(TypeError, match="incompatible function arguments"):
        call(device)


@pytest.mark.parametrize("device", ABSENT)
@pytest.mark.parametrize(
    "use",
    [
        lambda stream: torch.cuda.Event().record(stream),
        lambda stream: torch.cuda.current_stream().record_event().wait(stream),
        lambda stream: torch.ones(2, device="cuda").record_stream(stream),
        torch.cuda.set_stream,
        lambda stream: stream.synchronize(),
        lambda stream: stream.query(),
        lambda stream: stream.wait_event(torch.cuda.current_stream().record_event()),
        lambda stream: torch.cuda.current_stream().wait_stream(stream),
    ],
)
def test_streams_of_devices_that_there_are_not(use: Callable[[torch.cuda.Stream], object], device: int) -> None:
    """A stream of any device can be made, as on a GPU. It can be used for nothing."""
    with pytest.raises(torch.AcceleratorError, match=ORDINAL):
        use(stream_of(device))
    assert torch.cuda.current_device() == 0


def test_priorities() -> None:
    extremes = [n for n in EXTREMES if -(2**31) <= n < 2**31]
    assert [torch.cuda.Stream(priority=n).priority for n in extremes] == [max(min(n, 0), -3) for n in extremes]
    with torch.cuda.stream(torch.cuda.Stream(priority=-(2**31))):
        assert (torch.ones(2, device="cuda") + 1).tolist() == [2, 2]


@pytest.mark.parametrize("address", [3, 99, 127, 2**63 + 1, 2**64 - 1])
def test_odd_addresses_of_streams(address: int) -> None:
    text = f"^Expected the address of a CUDA stream, but got {address:#x}: streams lie at even addresses"
    with pytest.raises(RuntimeError, match=text):
        torch.cuda.ExternalStream(address)


def test_the_default_stream_by_its_other_name() -> None:
    """cudaStreamLegacy is 1."""
    legacy = torch.cuda.ExternalStream(1)
    assert (legacy.cuda_stream, legacy.priority) == (0, 0)
    with torch.cuda.stream(legacy):
        assert (torch.ones(2, device="cuda") + 1).tolist() == [2, 2]


@pytest.mark.parametrize("identity", [-1, 13, 127])
def test_ids_that_no_stream_has(identity: int) -> None:
    stream = torch.Stream(stream_id=identity, device_index=0, device_type=1)
    with pytest.raises(RuntimeError, match=r"^Unrecognized stream stream -?\d+ on device cuda:0 \(I didn't recognize"):
        print(stream.native_handle)


@pytest.mark.parametrize("kind", [-1, 0, 2, 127, 256, 2**31])
def test_streams_of_other_kinds_of_devices(kind: int) -> None:
    with pytest.raises(RuntimeError, match=f"^Expected a CUDA stream, whose device_type is 1, but got {kind}$"):
        torch.cuda.Stream(stream_id=3, device_index=0, device_type=kind)


@pytest.mark.parametrize(
    ("size", "stride", "offset", "text"),
    [
        ((3,), (-1,), 0, r"Storage size calculation overflowed with sizes=\[3\] and strides=\[-1\]"),
        ((3, 3), (-2, 5), 0, r"Storage size calculation overflowed with sizes=\[3, 3\] and strides=\[-2, 5\]"),
        ((3,), (2**63 - 1,), 0, r"Storage size calculation overflowed with sizes=\[3\]"),
        ((2**40, 2**40), (1, 1), 0, "numel: integer multiplication overflow"),
        ((-3,), (1,), 0, "numel: integer multiplication overflow"),
        ((3,), (1,), -1, "Tensor: invalid storage offset -1"),
        ((3,), (1,), 2**63 - 1, "Storage size calculation overflowed"),
        ((3,), (1, 1), 0, r"unequal size length \(1\) and stride length \(2\)"),
        ((2**50,), (1,), 0, "CUDA out of memory"),
    ],
)
def test_a_tensor_keeps_its_storage_if_it_cannot_have_another(
    size: tuple[int, ...], stride: tuple[int, ...], offset: int, text: str
) -> None:
    for device in ("cpu", "cuda"):
        if device == "cpu" and "CUDA" in text:
            continue
        x = torch.arange(1000.0, device=device).view(10, 100)
        with pytest.raises(RuntimeError, match="^" + text):
            x.set_(torch.ones(8, device=device).untyped_storage(), offset, size, stride)
        if device == "cuda":
            assert (x.shape, x.stride(), x.storage_offset()) == ((10, 100), (100, 1), 0)
            assert x.sum().item() == 499500


def test_ranges_that_wrap_around_cannot_be_pinned() -> None:
    cudart = torch.cuda.cudart()
    x = torch.ones(8)
    for nbytes in (2**64 - 1, 2**64 - x.data_ptr() + 1):
        assert int(cudart.cudaHostRegister(x.data_ptr(), nbytes, 0)) == 1
    assert not x.is_pinned()
    assert not torch.ones(8).is_pinned()


@pytest.mark.parametrize("nbytes", [2**46, 2**62, 2**62 + 1, 2**63 - 1])
def test_more_pinned_memory_than_there_is(nbytes: int) -> None:
    with pytest.raises(torch.AcceleratorError, match="^CUDA error: out of memory"):
        torch.empty(nbytes, dtype=torch.uint8, pin_memory=True)


@pytest.mark.parametrize("fraction", [float("nan"), -0.5, 1.5, float("inf")])
def test_fractions(fraction: float) -> None:
    with pytest.raises(RuntimeError, match=rf"^invalid fraction:{fraction}\. Please set within \[0, 1\]\.$"):
        torch._C._cuda_setMemoryFraction(fraction, 0)
