"""torch.save, torch.load, pickle and copy of cuda tensors. What a GPU's files hold is torch/serialization.py's."""

from __future__ import annotations

import copy
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

CUDA = torch.device("cuda:0")
FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def saved(value: object, zipped: bool = True) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zipped)
    file.seek(0)
    return file


@FORMATS
@pytest.mark.parametrize("weights_only", [True, False])
def test_what_shares_memory_still_does(zipped: bool, weights_only: bool) -> None:
    base = torch.arange(6.0, device="cuda").view(2, 3)
    parameter = nn.Parameter(torch.ones(2, device="cuda"))
    values = {"base": base, "view": base.t()[1], "parameter": parameter, "host": torch.zeros(2)}
    loaded = torch.load(saved(values, zipped), weights_only=weights_only)
    assert {k: v.device.type for k, v in loaded.items()} == {
        "base": "cuda",
        "view": "cuda",
        "parameter": "cuda",
        "host": "cpu",
    }
    assert torch.equal(loaded["base"], base)
    assert loaded["view"].stride() == (3,)
    loaded["base"].fill_(5)
    assert loaded["view"].tolist() == [5, 5]
    assert type(loaded["parameter"]) is nn.Parameter
    assert loaded["parameter"].requires_grad


@FORMATS
@pytest.mark.parametrize("dtype", [torch.bool, torch.int8, torch.float64, torch.bfloat16, torch.complex64])
def test_dtypes(zipped: bool, dtype: torch.dtype) -> None:
    x = torch.tensor([0, 1, 0, 1]).to(dtype).cuda()
    loaded = torch.load(saved(x, zipped))
    assert (loaded.dtype, loaded.device) == (dtype, CUDA)
    assert torch.equal(loaded, x)


def test_the_archive_has_the_tag_and_bytes_of_a_gpus() -> None:
    archive = zipfile.ZipFile(saved(torch.arange(3, dtype=torch.int16, device="cuda")))
    prefix = archive.namelist()[0].split("/")[0]
    tensor = archive.read(f"{prefix}/data.pkl")
    assert b"ShortStorage" in tensor
    assert b"cuda:0" in tensor
    assert archive.read(f"{prefix}/data/0") == bytes([0, 0, 1, 0, 2, 0])


@pytest.mark.parametrize("weights_only", [True, False])
def test_a_file_of_a_bigger_machine(weights_only: bool) -> None:
    x = torch.arange(3.0, device="cuda")
    storage_location = torch.serialization.location_tag
    assert storage_location(x.untyped_storage()) == "cuda:0"
    for zipped in (True, False):
        # Pickle writes the tag with its length, so one of the same length makes a file of a machine with four GPUs.
        content = saved(x, zipped).getvalue()
        assert content.count(b"cuda:0") == 1
        content = content.replace(b"cuda:0", b"cuda:3")
        if zipped:
            content = rezipped(content)
        with pytest.raises(
            RuntimeError,
            match=r"Attempting to deserialize object on CUDA device 3 but torch\.cuda\.device_count\(\) is 1\. Please "
            r"use torch\.load with map_location to map your storages to an existing device\.",
        ):
            torch.load(io.BytesIO(content), weights_only=weights_only)
        for target in ("cuda", "cpu", {"cuda:3": "cuda:0"}):
            loaded = torch.load(io.BytesIO(content), map_location=target, weights_only=weights_only)
            assert loaded.device.type == ("cpu" if target == "cpu" else "cuda")
            assert loaded.tolist() == [0, 1, 2]


def rezipped(content: bytes) -> bytes:
    """The archive with the checksums that its changed bytes need, aligned as torch wants it."""
    names: list[tuple[str, bytes]] = []
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                member._expected_crc = None
                names.append((info.filename, member.read()))
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w", zipfile.ZIP_STORED) as archive:
        for name, data in names:
            archive.writestr(name, data)
    return result.getvalue()


@FORMATS
@pytest.mark.parametrize(
    ("target", "device"),
    [
        (None, "cuda:0"),
        ("cpu", "cpu"),
        ("cuda", "cuda:0"),
        ("cuda:0", "cuda:0"),
        (torch.device("cuda"), "cuda:0"),
        (torch.device("cpu"), "cpu"),
        ({"cuda:0": "cpu"}, "cpu"),
        ({"cuda:1": "cpu"}, "cuda:0"),
        (lambda storage, tag: storage, "cpu"),
        (lambda storage, tag: storage.cuda() if tag == "cuda:0" else storage, "cuda:0"),
        (lambda storage, tag: None, "cuda:0"),
        ("meta", "meta"),
    ],
)
def test_map_location(zipped: bool, target: Any, device: str) -> None:
    loaded = torch.load(saved(torch.arange(3.0, device="cuda"), zipped), map_location=target)
    assert str(loaded.device) == device
    if device != "meta":
        assert loaded.tolist() == [0, 1, 2]


def test_map_location_to_a_device_that_is_not_there() -> None:
    with pytest.raises(RuntimeError, match=r"^Attempting to deserialize object on CUDA device 1 but"):
        torch.load(saved(torch.zeros(2)), map_location="cuda:1")


@pytest.mark.parametrize("target", [None, "cuda", "cpu"])
def test_mmap(tmp_path: Path, target: str | None) -> None:
    file = tmp_path / "tensors.pt"
    torch.save({"x": torch.arange(4.0, device="cuda"), "y": torch.ones(2)}, file)
    loaded = torch.load(file, mmap=True, map_location=target)
    assert loaded["x"].device.type == (target or "cuda")
    loaded["x"].add_(1)
    assert loaded["x"].tolist() == [1, 2, 3, 4]
    assert torch.load(file)["x"].tolist() == [0, 1, 2, 3]


def test_two_devices(run_python: Callable[..., Any]) -> None:
    run_python(
        """
        import copy, io, pickle, torch
        x = {i: torch.full((2,), float(i), device=f"cuda:{i}") for i in (0, 1)}
        file = io.BytesIO()
        torch.save(x, file)

        def devices(**options):
            file.seek(0)
            return [(str(t.device), t[0].item()) for t in torch.load(file, **options).values()]

        assert devices() == [("cuda:0", 0), ("cuda:1", 1)]
        assert devices(map_location="cuda:1") == [("cuda:1", 0), ("cuda:1", 1)]
        assert devices(map_location={"cuda:0": "cuda:1", "cuda:1": "cpu"}) == [("cuda:1", 0), ("cpu", 1)]
        assert devices(map_location=lambda storage, tag: storage.cuda(1)) == [("cuda:1", 0), ("cuda:1", 1)]
        with torch.cuda.device(1):
            assert devices(map_location="cuda") == [("cuda:1", 0), ("cuda:1", 1)]
            assert devices() == [("cuda:0", 0), ("cuda:1", 1)]
        for again in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x)):
            assert [str(t.device) for t in again.values()] == ["cuda:0", "cuda:1"]
        """,
        TORCHDEVICE_COUNT="2",
    )


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol: int) -> None:
    x = torch.arange(4.0, device="cuda", requires_grad=True)
    loaded = pickle.loads(pickle.dumps(x, protocol))
    assert (loaded.device, loaded.requires_grad, loaded.tolist()) == (CUDA, True, [0, 1, 2, 3])


def test_copies() -> None:
    base = torch.arange(4.0, device="cuda")
    shallow = copy.copy(base)
    assert shallow.data_ptr() == base.data_ptr()
    deep = copy.deepcopy({"base": base, "view": base[1:]})
    assert deep["view"].data_ptr() == deep["base"].data_ptr() + 4 != base.data_ptr() + 4
    leaf = copy.deepcopy(torch.ones(2, device="cuda", requires_grad=True))
    assert (leaf.requires_grad, leaf.is_leaf) == (True, True)
    with pytest.raises(RuntimeError, match=r"^Only Tensors created explicitly by the user"):
        copy.deepcopy(leaf * 2)


def model_and_optimizer() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).cuda()
    return model, torch.optim.Adam(model.parameters(), lr=0.1, capturable=True)


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.arange(6.0, device="cuda").view(2, 3)).pow(3).sum().backward()
    optimizer.step()


@FORMATS
@pytest.mark.parametrize("target", [None, "cpu"])
def test_training_goes_on_from_a_file(zipped: bool, target: str | None) -> None:
    model, optimizer = model_and_optimizer()
    step(model, optimizer)
    state = torch.load(saved([model.state_dict(), optimizer.state_dict()], zipped), map_location=target)
    again, again_optimizer = model_and_optimizer()
    again.load_state_dict(state[0])
    again_optimizer.load_state_dict(state[1])
    assert {v.device for s in again_optimizer.state.values() for v in s.values()} == {CUDA}
    step(model, optimizer)
    step(again, again_optimizer)
    for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert a.device == b.device == CUDA
        assert torch.equal(a, b)


def test_whole_modules_and_scripts() -> None:
    model, _ = model_and_optimizer()
    for again in (
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        torch.load(saved(model), weights_only=False),
    ):
        assert {p.device for p in again.parameters()} == {CUDA}
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(model), file)
    for target, device in ((None, "cuda"), ("cpu", "cpu")):
        file.seek(0)
        assert {p.device.type for p in torch.jit.load(file, map_location=target).parameters()} == {device}
