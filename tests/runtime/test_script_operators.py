"""torch.cuda's functions on devices in TorchScript."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


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
