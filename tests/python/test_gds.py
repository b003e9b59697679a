"""torch.cuda.gds: storages travel to files and back, at any size and offset."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch.cuda import gds


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A file on a file system that takes O_DIRECT, which torch insists on."""
    path = tmp_path / "data"
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_DIRECT", 0)))
    except OSError:
        pytest.skip("the temporary folder's file system knows no O_DIRECT")
    return str(path)


@pytest.mark.parametrize("count", [1, 1000, 4096])
def test_round_trip(path: str, count: int) -> None:
    source, other = torch.randn(count, device="cuda"), torch.arange(3, device="cuda")
    file = gds.GdsFile(path, os.O_CREAT | os.O_RDWR)
    file.save_storage(source.untyped_storage(), offset=0)
    file.save_storage(other.untyped_storage(), offset=source.nbytes)
    assert os.path.getsize(path) == source.nbytes + other.nbytes
    back, other_back = torch.empty_like(source), torch.empty_like(other)
    file.load_storage(back.untyped_storage(), offset=0)
    file.load_storage(other_back.untyped_storage(), offset=source.nbytes)
    assert torch.equal(back, source)
    assert torch.equal(other_back, other)


def test_errors_are_cufiles(path: str) -> None:
    file = gds.GdsFile(path, os.O_CREAT | os.O_RDWR)
    file.save_storage(torch.ones(2, device="cuda").untyped_storage())
    with pytest.raises(RuntimeError, match="cuFileRead partial read: expected 40 bytes, got 8"):
        file.load_storage(torch.ones(10, device="cuda").untyped_storage())
    read_only = gds.GdsFile(path, os.O_RDONLY)
    with pytest.raises(RuntimeError, match="cuFileWrite failed: "):
        read_only.save_storage(torch.ones(2, device="cuda").untyped_storage())


def test_buffers_are_registered_once() -> None:
    storage = torch.ones(4, device="cuda").untyped_storage()
    gds.gds_register_buffer(storage)
    with pytest.raises(RuntimeError, match="cuFileBufRegister failed"):
        gds.gds_register_buffer(storage)
    gds.gds_deregister_buffer(storage)
    with pytest.raises(RuntimeError, match="cuFileBufDeregister failed"):
        gds.gds_deregister_buffer(storage)
