"""Rounds of hostile input: checkpoints, handles and descriptions of memory with a few of their bytes or fields changed.

Whatever is made of them may be used; what cannot be used raises.
"""

from __future__ import annotations

import ctypes
import io
import itertools
import math
import pickletools
import random
import zipfile
from collections import Counter
from typing import Any

import torch
from torch.multiprocessing import reductions
from torch.utils import dlpack

from conformance.fuzz.calls import INTEGERS
from conformance.fuzz.worker import check_error


def use(tensor: Any) -> None:
    """Read all of it."""
    if isinstance(tensor, torch.Tensor):
        copy = tensor.detach().clone()
        if tensor.layout is torch.strided:
            (copy == tensor).sum().item()
        str(tensor.cpu())


def changed(rng: random.Random, data: bytes) -> bytes:
    """A few bytes are others; sometimes they are missing, or there twice."""
    copy = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(copy) + 1)
        end = min(len(copy), place + rng.randrange(1, 9))
        if rng.random() < 0.8:
            copy[place:end] = rng.choice((rng.randbytes(end - place), b"\xff" * (end - place), bytes(end - place)))
        else:
            copy[place:end] = rng.choice((b"", copy[place:end] * 2))
    return bytes(copy)


def renumbered(rng: random.Random, pickle: bytes) -> bytes:
    """One or two of its integers are others: sizes, strides, offsets, versions."""
    numbers = [
        (place, following[2])
        for (operation, _, place), following in itertools.pairwise(pickletools.genops(pickle))
        if operation.name in ("BININT", "BININT1", "BININT2", "LONG1")
    ]
    for place, end in sorted(rng.sample(numbers, min(len(numbers), rng.choice((1, 1, 2)))), reverse=True):
        number = rng.choice((*INTEGERS, 5, 1 << 20)).to_bytes(9, "little", signed=True)
        pickle = pickle[:place] + b"\x8a\x09" + number + pickle[end:]  # LONG1
    return pickle


def checkpoint(rng: random.Random) -> str:
    """A file of torch.save; mostly one of the files in it is changed."""
    tensors = {
        "weight": torch.randn(3, 4, device="cuda").t(),
        "view": torch.arange(10.0, device="cuda")[2:7],
        "sparse": torch.eye(3, device="cuda").to_sparse(),
        "state": torch.cuda.get_rng_state(),
    }
    file = io.BytesIO()
    torch.save(tensors, file, _use_new_zipfile_serialization=(zipped := rng.random() < 0.8))
    data = file.getvalue()
    if not zipped or rng.random() < 0.1:
        data = changed(rng, data)
    else:
        with zipfile.ZipFile(file) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        (pickle,) = (name for name in content if name.endswith("data.pkl"))
        if rng.random() < 0.6:
            content[pickle] = renumbered(rng, content[pickle])
        else:
            name = rng.choice([*content, *[pickle] * len(content)])
            content[name] = changed(rng, content[name])
        with zipfile.ZipFile(file := io.BytesIO(), "w", zipfile.ZIP_STORED) as archive:
            for name, bytes_of in content.items():
                archive.writestr(name, bytes_of)
        data = file.getvalue()
    loaded = torch.load(io.BytesIO(data), map_location=rng.choice((None, "cuda", "cuda:1", "cpu")), weights_only=True)
    for one in loaded.values() if isinstance(loaded, dict) else [loaded]:
        use(one)
    return "checkpoints"


def shared_handle(rng: random.Random) -> str:
    """What torch.multiprocessing sends of a tensor; it is used as a tensor and as a storage."""
    tensor = torch.arange(16.0, device="cuda").view(4, 4)
    _, fields = reductions.reduce_tensor(tensor)
    fields = list(fields)
    # Not its class, the storage's class and the data type: pickle resolves these.
    for place in rng.sample([1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14], rng.choice((1, 1, 2))):
        field = fields[place]
        if isinstance(field, bytes):
            fields[place] = rng.choice((changed(rng, field), field * 40, b"", field + b"\0x"))
        elif isinstance(field, (tuple, torch.Size)):
            fields[place] = tuple(rng.choice((one, rng.choice(INTEGERS))) for one in field)
        else:
            fields[place] = rng.choice(INTEGERS)
    use(reductions.rebuild_cuda_tensor(*fields))
    return "handles"


def ends_torch(shape: tuple[int, ...], strides: tuple[int, ...] | None, itemsize: int) -> bool:
    """Whether from_blob ends the process, on a GPU too: the size of such memory overflows where nothing may throw."""
    steps = strides if strides is not None else [itemsize * math.prod(shape[i + 1 :]) for i in range(len(shape))]
    reach = [(size - 1) * step for size, step in zip(shape, steps, strict=True)]
    return 0 not in shape and (min(reach, default=0) < 0 or sum(reach) >= 1 << 62)


class Array:
    """Any object with CUDA's array interface."""

    def __init__(self, interface: dict[str, Any]) -> None:
        self.__cuda_array_interface__ = interface


def array_interface(rng: random.Random) -> str:
    tensor = torch.arange(16.0, device="cuda").view(4, 4).t()
    interface = {**tensor.__cuda_array_interface__}
    pointer = interface["data"][0]
    for _ in range(rng.choice((1, 1, 2))):
        interface.update(rng.choice((
            {"shape": tuple(rng.choice((4, 0, 1, 1 << 20, *INTEGERS)) for _ in range(2))},
            {"strides": rng.choice((None, (rng.choice((4, -4, 64, 1 << 24, *INTEGERS)), 4)))},
            {"data": (rng.choice((0, 8, pointer + 4, pointer - (1 << 30), pointer + (1 << 33), 1 << 47)), False)},
            {"typestr": rng.choice(("<f8", "|u1", "<c16", "<f2", ">f4", "<V4", ""))},
            {"version": rng.choice((0, 2, 3, 99))},
        )))  # fmt: skip
    if not ends_torch(interface["shape"], interface["strides"], tensor.element_size()):
        use(torch.as_tensor(Array(interface), device=rng.choice((None, "cuda", "cpu"))))
    return "handles"


class DLTensor(ctypes.Structure):
    """Of dlpack.h; the first member of a DLManagedTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )  # fmt: skip


def capsule(rng: random.Random) -> str:
    """A DLPack capsule. Its number of dimensions only shrinks: torch reads as many sizes as it says."""
    made = torch._C._to_dlpack(torch.arange(16.0, device="cuda").view(4, 4))
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    described = DLTensor.from_address(pointer(made, b"dltensor"))
    for _ in range(rng.choice((1, 1, 2))):
        change = rng.randrange(7)
        if change == 0:
            described.data = rng.choice((0, 64, described.data + (1 << 33), described.data + 4))
        elif change == 1:
            described.device_id = rng.choice((1, 2, 63, 64, 99, 127, 128, 256, 300, -1, -2, 2**31 - 1))
        elif change == 2:
            described.ndim = rng.randrange(3)
        elif change == 3:
            described.code, described.bits = rng.randrange(8), rng.choice((8, 16, 32, 64, 128))
        elif change in (4, 5):
            numbers = described.shape if change == 4 else described.strides
            numbers[rng.randrange(2)] = rng.choice((0, 1, 5, 1 << 20, *INTEGERS[:-1]))
        else:
            described.byte_offset = rng.choice((4, 1 << 30, 2**64 - 4))
    shape, strides = (numbers[: described.ndim] for numbers in (described.shape, described.strides))
    # Where the number of elements overflows, torch frees the capsule's tensor twice, on a CPU too.
    itemsize = max(1, described.bits // 8)
    steps = tuple(stride * itemsize for stride in strides)
    if abs(math.prod(shape)) < 1 << 63 and not ends_torch(tuple(shape), steps, itemsize):
        use(dlpack.from_dlpack(made))
    return "handles"


def states(rng: random.Random) -> str:
    """Of a generator, and of an event of another process."""
    if rng.random() < 0.5:
        before = torch.cuda.get_rng_state()
        try:
            state = bytearray(changed(rng, bytes(before.tolist())))
            torch.cuda.set_rng_state(torch.frombuffer(state, dtype=torch.uint8))
            use(torch.rand(5, device="cuda"))
        finally:
            torch.cuda.set_rng_state(before)
    else:
        event = torch.cuda.Event(interprocess=True)
        device = rng.choice((torch.device("cuda"), torch.device("cuda:1"), torch.device("cpu"), 300))
        torch.cuda.Event.from_ipc_handle(device, changed(rng, event.ipc_handle())).synchronize()
    return "handles"


def run(rng: random.Random) -> Counter[str]:
    """Some of each kind; then CUDA works as before."""
    counts: Counter[str] = Counter()
    for make in (checkpoint, checkpoint, shared_handle, array_interface, capsule, states):
        try:
            kind = make(rng)
        except Exception as error:
            check_error(error)
            kind = "checkpoints" if make is checkpoint else "handles"
        counts[kind] += 1
    use(torch.ones(3, device="cuda"))
    return counts
