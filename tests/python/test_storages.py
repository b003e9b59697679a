"""torch.UntypedStorage on cuda, which a CPU build of torch compiles out."""

from __future__ import annotations

import copy
import io

import pytest
import torch

from tests.conftest import RunPython

CUDA = torch.device("cuda:0")


def test_storage_of_a_size() -> None:
    storage = torch.UntypedStorage(8, device="cuda")
    assert storage.device == CUDA
    assert (storage.nbytes(), len(storage), storage.is_cuda) == (8, 8, True)
    assert storage.fill_(3).tolist() == [3] * 8
    assert torch.UntypedStorage(device="cuda").device == CUDA
    assert torch.UntypedStorage(4, device=torch.device("cuda", 0)).device == CUDA
    assert torch.UntypedStorage(4, device=0).device == CUDA


def test_storage_of_a_sequence() -> None:
    storage = torch.UntypedStorage([1, 2, 250], device="cuda:0")
    assert storage.device == CUDA
    assert storage.tolist() == [1, 2, 250]
    assert storage[2] == 250


def test_cpu_and_meta_storages_are_torchs_own() -> None:
    assert torch.UntypedStorage(4).device.type == "cpu"
    assert torch.UntypedStorage(4, device="cpu").device.type == "cpu"
    assert torch.UntypedStorage(4, device="meta").device.type == "meta"
    assert torch.UntypedStorage(4).resize_(9).nbytes() == 9


def test_bad_arguments() -> None:
    with pytest.raises(torch.AcceleratorError, match=r"CUDA error: invalid device ordinal"):
        torch.UntypedStorage(4, device="cuda:9")
    with pytest.raises(TypeError, match=r"^torch.UntypedStorage\(\) received an invalid combination of arguments"):
        torch.UntypedStorage(4, device=[1])
    with pytest.raises(RuntimeError, match=r"Expected one of cpu, cuda"):
        torch.UntypedStorage(4, device="gpu")


def test_resize_keeps_what_fits() -> None:
    storage = torch.UntypedStorage([1, 2, 3, 4], device="cuda")
    assert storage.resize_(8) is storage
    assert storage.tolist()[:4] == [1, 2, 3, 4]
    storage.resize_(2)
    assert storage.tolist() == [1, 2]
    storage.resize_(0)
    assert (storage.nbytes(), storage.data_ptr()) == (0, 0)
    assert storage.resize_(4).device == CUDA
    with pytest.raises(RuntimeError, match=r"resize_ expects an int, but got str"):
        storage.resize_("4")


def test_a_tensor_sees_its_resized_storage() -> None:
    x = torch.arange(4.0, device="cuda")
    x.untyped_storage().resize_(0)
    x.untyped_storage().resize_(16)
    x.fill_(2)
    assert x.tolist() == [2.0] * 4


def test_moving_storages() -> None:
    storage = torch.arange(3, dtype=torch.uint8).untyped_storage()
    there = storage.cuda()
    assert there.device == CUDA
    assert there.cpu().tolist() == [0, 1, 2]
    assert storage.to(device="cuda").tolist() == [0, 1, 2]
    assert there.copy_(torch.UntypedStorage([7, 8, 9])).tolist() == [7, 8, 9]


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_legacy_typed_storages() -> None:
    storage = torch.cuda.FloatStorage([1.0, 2.0])
    assert storage.device == CUDA
    assert storage.tolist() == [1.0, 2.0]
    assert torch.cuda.HalfStorage(5).nbytes() == 10
    assert torch.FloatStorage([3.0]).cuda().type() == "torch.cuda.FloatStorage"
    assert isinstance(torch.ones(2, device="cuda").storage(), torch.TypedStorage)
    assert torch.ones(2, device="cuda").storage().type() == "torch.cuda.FloatStorage"


def test_deepcopy_and_pickle() -> None:
    x = torch.arange(4.0, device="cuda")
    y = copy.deepcopy(x)
    assert y.device == CUDA
    assert y.data_ptr() != x.data_ptr()
    assert y.tolist() == x.tolist()
    clone = copy.deepcopy(x.untyped_storage())
    assert clone.device == CUDA
    assert clone.tolist() == x.untyped_storage().tolist()


def test_save_and_load_both_ways() -> None:
    file = io.BytesIO()
    torch.save({"x": torch.arange(3.0, device="cuda"), "y": torch.ones(2)}, file)
    for location, device in ((None, CUDA), ("cpu", torch.device("cpu")), ("cuda:0", CUDA)):
        file.seek(0)
        loaded = torch.load(file, map_location=location)
        assert loaded["x"].device == device
        assert loaded["x"].tolist() == [0.0, 1.0, 2.0]
    assert loaded["y"].device == CUDA


def test_subclasses_are_made_as_such() -> None:
    class Mine(torch.UntypedStorage):
        pass

    storage = Mine(4, device="cuda")
    assert type(storage) is Mine
    assert storage.device == CUDA


def test_storages_of_several_devices(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        assert torch.UntypedStorage(4, device="cuda:1").device == torch.device("cuda:1")
        assert torch.UntypedStorage(4, device="cuda:1").resize_(9).device == torch.device("cuda:1")
        with torch.cuda.device(1):
            assert torch.UntypedStorage(4, device="cuda").device == torch.device("cuda:1")
        assert torch.UntypedStorage(4, device="cuda:1").cuda(0).device == torch.device("cuda:0")
        assert torch.cuda.current_device() == 0
        """,
        TORCHDEVICE_COUNT="2",
    )
