"""torch.cuda's functions on devices, its streams and events in TorchScript."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from torchdevice import _C


def test_devices_in_a_script(run_python: Callable[..., Any], tmp_path: Path) -> None:
    # TorchScript compiles the source of a function, which must lie in a file.
    module = tmp_path / "scripted.py"
    module.write_text(
        "import torch\n"
        "def change(d: int):\n"
        "    torch.cuda.synchronize()\n"
        "    torch.cuda.synchronize(d)\n"
        "    torch.cuda.set_device(d)\n"
        "    return torch.cuda.current_device(), torch.cuda.device_count()\n"
        "def exchange(d: int):\n"
        "    torch.cuda._exchange_device(d)\n"
        "    return torch.cuda._exchange_device(-1), torch.cuda._maybe_exchange_device(0)\n"
    )
    run_python(
        f"""
        import sys, warnings
        sys.path.insert(0, {str(tmp_path)!r})
        warnings.simplefilter("ignore")
        import torch, scripted
        assert torch.jit.script(scripted.change)(1) == (1, 2)
        assert torch.cuda.current_device() == 1
        torch.cuda.set_device(0)
        assert torch.jit.script(scripted.exchange)(1) == (-1, 1)
        assert torch.cuda.current_device() == 0
        try:
            torch.jit.script(scripted.change)(2)
        except RuntimeError as error:
            assert "invalid device ordinal" in str(error)
        else:
            raise SystemExit("no error")
        """,
        TORCHDEVICE_COUNT="2",
    )


STREAMS = """
import torch
def on_a_stream(x: torch.Tensor):
    device = torch.device("cuda:0")
    s = torch.cuda.Stream()
    with torch.cuda.stream(s):
        y = x + 1
        is_current = torch.cuda.current_stream(device).id() == s.id()
    torch.cuda.current_stream(device).wait_stream(s)
    return y, is_current, torch.cuda.current_stream(0).id() == torch.cuda.default_stream(0).id()
def events(x: torch.Tensor):
    s = torch.cuda.Stream(torch.device("cuda:1"), -1)
    torch.cuda.set_stream(s)
    begin, end = torch.cuda.Event(True), torch.cuda.Event(True)
    begin.record(s)
    y = x @ x
    end.record(s)
    end.synchronize()
    last = s.record_event(end)
    s.wait_event(last)
    s.synchronize()
    return begin.elapsed_time(end) >= 0.0, s.query(), last.query(), s.device_index(), s.device
"""


@pytest.mark.skipif(_C.torch_is_cuda_build(), reason="TorchScript keeps a CUDA build's own classes, which need a GPU")
def test_streams_in_a_script(run_python: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "scripted.py").write_text(STREAMS)
    run_python(
        f"""
        import sys, warnings
        sys.path.insert(0, {str(tmp_path)!r})
        warnings.simplefilter("ignore")
        import torch, scripted
        y, is_current, is_default_again = torch.jit.script(scripted.on_a_stream)(torch.ones(2, device="cuda"))
        assert y.tolist() == [2, 2] and is_current and is_default_again
        x = torch.ones(2, 2, device="cuda:1")
        assert torch.jit.script(scripted.events)(x) == (True, True, True, 1, torch.device("cuda:1"))
        assert torch.cuda.current_device() == 1  # as set_stream leaves it
        """,
        TORCHDEVICE_COUNT="2",
    )
