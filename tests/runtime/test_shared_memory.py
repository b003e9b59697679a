"""CUDA tensors that several processes see, through torch.multiprocessing.

What a GPU does is taken from torch/csrc/StorageSharing.cpp and torch/multiprocessing/reductions.py.
"""

from __future__ import annotations

import gc
import multiprocessing.connection
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp

kept: list[torch.Tensor] = []


def serve(connection: multiprocessing.connection.Connection) -> None:
    """The other process: answers `(function, arguments)` with the result, or the text of the error."""
    while (message := connection.recv()) is not None:
        function, arguments = message
        try:
            connection.send(function(*arguments))
        except Exception as error:
            connection.send(f"{type(error).__name__}: {error}")


def keep(*tensors: torch.Tensor) -> list[torch.Tensor]:
    kept.extend(tensors)
    return [t.clone() for t in kept]


def add(value: float) -> None:
    with torch.no_grad():
        for tensor in kept:
            tensor.add_(value)


def facts(tensor: torch.Tensor) -> dict[str, Any]:
    storage = tensor.untyped_storage()
    return {
        "type": type(tensor).__name__,
        "device": str(tensor.device),
        "dtype": tensor.dtype,
        "values": tensor.tolist(),
        "stride": tensor.stride(),
        "offset": tensor.storage_offset(),
        "requires_grad": tensor.requires_grad,
        "is_leaf": tensor.is_leaf,
        "is_shared": tensor.is_shared(),
        "storage": (storage.nbytes(), storage.resizable()),
    }


def one_storage(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()


def make() -> torch.Tensor:
    kept.append(torch.arange(6.0, device="cuda").view(2, 3).t())
    return kept[-1]


def use(tensor: torch.Tensor) -> tuple[list[float], str, int]:
    tensor.record_stream(torch.cuda.Stream())
    same = torch.as_tensor(HasInterface(tensor), device="cuda")
    return (tensor * 2).tolist(), str(same.device), torch.cuda.memory_allocated()


def send_on(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def drop() -> None:
    kept.clear()
    gc.collect()


def event_works(event: torch.cuda.Event) -> bool:
    event.wait()
    event.synchronize()
    return type(event) is torch.cuda.Event and event.query()


class HasInterface:
    def __init__(self, tensor: torch.Tensor) -> None:
        self.__cuda_array_interface__ = tensor.__cuda_array_interface__


class Other:
    """A process that serves, and the calls to it."""

    def __init__(self, method: str) -> None:
        context = mp.get_context(method)
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), daemon=True)
        self.process.start()

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self.connection.send((function, arguments))
        assert self.connection.poll(60), "no answer"
        return self.connection.recv()

    def stop(self) -> None:
        self.connection.send(None)
        self.process.join(60)
        assert self.process.exitcode == 0


def shared_files(pid: int | None) -> list[str]:
    if not Path("/dev/shm").exists():
        return []
    return [name for name in os.listdir("/dev/shm") if name.startswith(f"torch_{pid}_")]


@pytest.fixture(scope="module", params=["spawn", "forkserver"])
def other(request: pytest.FixtureRequest) -> Any:
    process = Other(request.param)
    yield process
    process.stop()


@pytest.fixture
def nothing_leaks(other: Other) -> Any:
    """What other tests of this process left is not this one's; threads of multiprocessing may hold a tensor a while."""
    before = {pid: set(shared_files(pid)) for pid in (os.getpid(), other.process.pid)}
    yield
    other(drop)
    end = time.monotonic() + 10
    while (left := [set(shared_files(pid)) - files for pid, files in before.items()]) != [set(), set()]:
        assert time.monotonic() < end, left
        gc.collect()
        time.sleep(0.1)


@pytest.mark.usefixtures("nothing_leaks")
def test_writes_are_seen_on_both_sides(other: Other) -> None:
    x = torch.arange(4.0, device="cuda")
    assert other(keep, x)[0].tolist() == [0, 1, 2, 3]
    other(add, 1)
    assert x.tolist() == [1, 2, 3, 4]
    x.mul_(10)
    assert other(keep)[0].tolist() == [10, 20, 30, 40]
    # Sent again, it is the same memory, in another tensor.
    assert [t.tolist() for t in other(keep, x)] == [[10, 20, 30, 40]] * 2
    other(add, 1)
    assert x.tolist() == [12, 22, 32, 42]
    del x
    assert other(keep)[0].tolist() == [12, 22, 32, 42]


@pytest.mark.usefixtures("nothing_leaks")
def test_received_tensors_look_as_they_were_sent(other: Other) -> None:
    base = torch.arange(12.0, device="cuda").view(3, 4)
    view = base.t()[1:, ::2]
    assert other(facts, view) == {
        "type": "Tensor",
        "device": "cuda:0",
        "dtype": torch.float32,
        "values": view.tolist(),
        "stride": (1, 8),
        "offset": 1,
        "requires_grad": False,
        "is_leaf": True,
        "is_shared": True,
        "storage": (48, False),
    }
    parameter = other(facts, torch.nn.Parameter(torch.ones(2, device="cuda")))
    assert (parameter["type"], parameter["requires_grad"], parameter["is_leaf"]) == ("Parameter", True, True)
    for dtype in (torch.bool, torch.int64, torch.bfloat16, torch.complex64):
        assert other(facts, torch.ones(3, dtype=dtype, device="cuda"))["dtype"] is dtype
    assert other(facts, torch.ones(2, device="cuda", requires_grad=True))["requires_grad"]
    empty = other(facts, torch.empty(0, 3, device="cuda"))
    assert (empty["values"], empty["device"], empty["stride"]) == ([], "cuda:0", (3, 1))
    assert other(facts, torch.tensor(5, device="cuda"))["values"] == 5


@pytest.mark.usefixtures("nothing_leaks")
def test_views_of_one_storage_stay_views_of_one_storage(other: Other) -> None:
    x = torch.zeros(6, device="cuda")
    assert other(one_storage, x[:2], x[3:].view(torch.int32))
    assert not other(one_storage, x, torch.zeros(6, device="cuda"))


@pytest.mark.usefixtures("nothing_leaks")
def test_the_other_way(other: Other) -> None:
    x = other(make)
    assert (x.stride(), x.tolist()) == ((1, 3), [[0, 3], [1, 4], [2, 5]])
    x += 1
    assert other(keep)[0].tolist() == x.tolist()
    other(drop)
    assert x.tolist() == [[1, 4], [2, 5], [3, 6]]


@pytest.mark.usefixtures("nothing_leaks")
def test_received_tensors_work_like_others(other: Other) -> None:
    x = torch.arange(3.0, device="cuda")
    values, device, allocated = other(use, x)
    assert (values, device) == ([0, 2, 4], "cuda:0")
    assert allocated == 0  # what another process shared is not charged to this one
    y = other(make)
    (y * torch.ones(3, 2, device="cuda", requires_grad=True)).sum().backward()
    with pytest.raises(RuntimeError, match=r"Trying to resize storage that is not resizable"):
        y.untyped_storage().resize_(100)


@pytest.mark.usefixtures("nothing_leaks")
def test_refusals(other: Other) -> None:
    refusal = (
        "Attempted to send CUDA tensor received from another process; this is not currently supported. Consider "
        "cloning before sending."
    )
    assert other(send_on, torch.ones(2, device="cuda")) == f"RuntimeError: {refusal}"
    x = torch.ones(2, device="cuda", requires_grad=True) * 2
    with pytest.raises(RuntimeError, match=r"^Cowardly refusing to serialize non-leaf tensor which requires_grad"):
        other(facts, x)
    with pytest.raises(RuntimeError, match=r"^_share_cuda_: only available on CUDA"):
        torch.zeros(2).untyped_storage()._share_cuda_()
    with pytest.raises(RuntimeError, match=r"^Cannot pickle CUDA storage; try pickling a CUDA tensor instead"):
        other(one_storage, torch.zeros(2, device="cuda").untyped_storage())


@pytest.mark.usefixtures("nothing_leaks")
def test_figures_of_the_sender_are_those_before(other: Other) -> None:
    gc.collect()  # other tests' tensors
    before = torch.cuda.memory_allocated()
    x = torch.ones(1000, device="cuda")
    allocated = torch.cuda.memory_allocated()
    other(keep, x)
    assert torch.cuda.memory_allocated() == allocated
    del x
    gc.collect()
    assert torch.cuda.memory_allocated() == before
    torch.cuda.ipc_collect()
    assert other(keep)[0].sum().item() == 1000


def test_sharing_flags_and_the_tuple_of_a_storage() -> None:
    x = torch.ones(3, device="cuda")
    pointer = x.data_ptr()
    assert x.share_memory_() is x
    assert x.is_shared()
    assert x.untyped_storage().is_shared()
    assert x.data_ptr() == pointer
    storage = x.untyped_storage()
    shared = storage._share_cuda_()
    device, handle, size, offset, counter, counter_offset, event, sync = shared
    assert (device, size, offset, event, sync) == (0, 12, 0, bytes(64), False)
    again = torch.UntypedStorage._new_shared_cuda(*shared)
    again[0] = 7
    assert storage[0] == 7
    torch.UntypedStorage._release_ipc_counter_cuda(*storage._share_cuda_()[4:6])
    del again, x, storage
    gc.collect()
    with pytest.raises(RuntimeError, match=r"^Cannot open a CUDA tensor of another process, which must live until"):
        torch.UntypedStorage._new_shared_cuda(*shared)
    torch.UntypedStorage._release_ipc_counter_cuda(counter, counter_offset)
    with pytest.raises(RuntimeError, match=r"^tuple of 8 items expected"):
        torch.UntypedStorage._new_shared_cuda(0, handle)
    with pytest.raises(torch.AcceleratorError, match=r"CUDA error: invalid device ordinal"):
        torch.UntypedStorage._new_shared_cuda(7, *shared[1:])
    assert torch.UntypedStorage(0, device="cuda")._share_cuda_() == (0, None, 0, 0, None, 0, None, None)


CANNOT_OPEN = "Cannot open a CUDA tensor of another process, which must live until the tensor has been received ("


@pytest.fixture
def sent() -> Any:
    """What travels of a storage of 12 bytes; nobody receives it."""
    storage = torch.ones(3, device="cuda").untyped_storage()
    fields = storage._share_cuda_()
    yield fields
    torch.UntypedStorage._release_ipc_counter_cuda(*fields[4:6])


@pytest.mark.parametrize(
    ("place", "value", "text"),
    [
        (2, -1, "incorrect handle"),
        (2, -63, "incorrect handle"),
        (2, -(2**63), "incorrect handle"),
        (2, 13, f"{CANNOT_OPEN}the handle says 13 bytes, and there are 12)"),
        (2, 2**63 - 1, f"{CANNOT_OPEN}the handle says {2**63 - 1} bytes, and there are 12)"),
        (3, 4, "incorrect handle"),
        (3, -1, "incorrect handle"),
        (1, b"no zero", "incorrect handle"),
        (1, b"", "incorrect handle"),
    ],
)
def test_a_handle_is_compared_with_the_file(sent: Any, place: int, value: Any, text: str) -> None:
    changed = [*sent]
    changed[place] = value
    with pytest.raises(RuntimeError) as caught:
        torch.UntypedStorage._new_shared_cuda(*changed)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "handle",
    [
        b"/\0manager",
        b"/other\0manager",
        b"/torch_../../etc/passwd\0manager",
        b"FILE\0",
        b"FILE\0" + b"m" * 5000,  # libshm would write it beyond the end of a socket's address
        b"FILE\0MANAGER\0more",
    ],
)
def test_a_handle_that_no_sender_made(sent: Any, handle: bytes) -> None:
    file, manager = sent[1].split(b"\0")
    changed = [*sent]
    changed[1] = handle.replace(b"FILE", file).replace(b"MANAGER", manager)
    with pytest.raises(RuntimeError) as caught:
        torch.UntypedStorage._new_shared_cuda(*changed)
    assert str(caught.value) == f"{CANNOT_OPEN}incorrect handle)"
    # To give up a reservation does nothing then.
    torch.UntypedStorage._release_ipc_counter_cuda(changed[1], sent[5])
    torch.UntypedStorage._release_ipc_counter_cuda(sent[1], -1)


@pytest.mark.parametrize("device", [-1, 1, 64])
def test_a_handle_of_another_device(sent: Any, device: int) -> None:
    with pytest.raises(torch.AcceleratorError, match=r"CUDA error: invalid device ordinal"):
        torch.UntypedStorage._new_shared_cuda(device, *sent[1:])


@pytest.mark.parametrize("device", [256, 2**31 - 1, -(2**31)])
def test_a_handle_of_no_device(sent: Any, device: int) -> None:
    with pytest.raises(RuntimeError, match=r"^Overflow when unpacking DeviceIndex$"):
        torch.UntypedStorage._new_shared_cuda(device, *sent[1:])


def test_a_smaller_file_is_not_made_larger(sent: Any) -> None:
    if not Path("/dev/shm").exists():
        pytest.skip("where shared memory has no folder")
    file = Path(f"/dev/shm{sent[1].split(bytes(1))[0].decode()}")
    size = file.stat().st_size
    with pytest.raises(RuntimeError, match=r"the handle says 1000000 bytes, and there are 12"):
        torch.UntypedStorage._new_shared_cuda(*sent[:2], 1_000_000, *sent[3:])
    assert file.stat().st_size == size
    os.truncate(file, 5)
    with pytest.raises(RuntimeError, match=r"the handle says 12 bytes, and there are 0"):
        torch.UntypedStorage._new_shared_cuda(*sent)
    os.truncate(file, size)


@pytest.mark.usefixtures("nothing_leaks")
def test_events_cross(other: Other) -> None:
    event = torch.cuda.Event(interprocess=True)
    event.record()
    assert other(event_works, event)


def train(model: torch.nn.Linear, results: Any, done: Any) -> None:
    for _ in range(3):
        loss = model(torch.ones(1, 2, device="cuda")).sum()
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= parameter.grad  # type: ignore[misc]
    results.put(model.weight.detach().clone())
    done.wait(60)


def test_a_process_trains_a_model_of_another() -> None:
    model = torch.nn.Linear(2, 1, bias=False).cuda()
    start = model.weight.detach().clone()
    context = mp.get_context("spawn")
    results, done = context.Queue(), context.Event()
    process = context.Process(target=train, args=(model, results, done), daemon=True)
    process.start()
    trained = results.get(timeout=60)
    done.set()
    process.join(60)
    assert process.exitcode == 0
    torch.testing.assert_close(model.weight.detach(), start - 3)
    torch.testing.assert_close(trained, start - 3)
