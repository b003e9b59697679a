"""Whether an NVIDIA GPU works here: asked of stand-ins for NVIDIA's management library and driver."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import RunPython

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="NVIDIA's libraries are found as on Linux")

#: Of the management library: what its initialisation returns, and how many GPUs it knows.
NVML = """
int nvmlInit(void) { return STATUS; }
int nvmlDeviceGetCount_v2(int* count) { *count = COUNT; return 0; }
"""
#: Of the driver, which notes the process that initialised it.
DRIVER = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int cuInit(unsigned flags) {
    FILE* file = fopen(getenv("INITIALISED_BY"), "w");
    fprintf(file, "%d", getpid());
    fclose(file);
    return STATUS;
}
int cuDeviceGetCount(int* count) { *count = COUNT; return 0; }
"""
#: What the libraries return.
SUCCESS, DRIVER_NOT_LOADED, STUB_LIBRARY, NO_DEVICE = 0, 9, 34, 100

ASK = """
    import os, torch
    from pathlib import Path
    torch.version.cuda = "13.0"
    from torchdevice.gpu import gpu_works
    print(gpu_works())
    note = Path(os.environ["INITIALISED_BY"])
    assert not note.exists() or note.read_text() != str(os.getpid()), "forked children could use no GPU any more"
"""


def compile_library(folder: Path, name: str, source: str, status: int, count: int) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    (folder / "source.c").write_text(source.replace("STATUS", str(status)).replace("COUNT", str(count)))
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / name, folder / "source.c"], check=True)


@pytest.mark.parametrize(
    ("nvml", "driver", "visible", "works"),
    [
        pytest.param(None, None, None, False, id="nothing of NVIDIA's"),
        pytest.param((SUCCESS, 1), (SUCCESS, 1), None, True, id="a GPU"),
        pytest.param((SUCCESS, 1), (SUCCESS, 1), "", False, id="a GPU that is hidden"),
        pytest.param((SUCCESS, 1), (SUCCESS, 1), "5", False, id="a GPU that has another number"),
        pytest.param((SUCCESS, 0), (NO_DEVICE, 0), None, False, id="a driver without a GPU"),
        pytest.param((DRIVER_NOT_LOADED, 0), (SUCCESS, 1), None, True, id="a management library that is broken"),
        pytest.param((DRIVER_NOT_LOADED, 0), (NO_DEVICE, 0), None, False, id="a driver that is not loaded"),
        pytest.param(None, (SUCCESS, 1), None, True, id="no management library"),
        pytest.param(None, (SUCCESS, 0), None, False, id="neither a management library nor a GPU"),
        pytest.param(None, (STUB_LIBRARY, 0), None, False, id="a container with a stub of the driver"),
    ],
)
def test_whether_a_gpu_works(
    run_python: RunPython,
    tmp_path: Path,
    nvml: tuple[int, int] | None,
    driver: tuple[int, int] | None,
    visible: str | None,
    works: bool,
) -> None:
    if nvml is not None:
        compile_library(tmp_path, "libnvidia-ml.so.1", NVML, *nvml)
    if driver is not None:
        compile_library(tmp_path, "libcuda.so.1", DRIVER, *driver)
    result = run_python(
        ASK,
        TORCH_DEVICE_BACKEND_AUTOLOAD="0",
        LD_LIBRARY_PATH=str(tmp_path),
        CUDA_VISIBLE_DEVICES=visible,
        INITIALISED_BY=str(tmp_path / "initialised_by"),
    )
    assert (result.stdout, result.stderr) == (f"{works}\n", "")


def test_a_gpu_keeps_torchdevice_out(run_python: RunPython, tmp_path: Path) -> None:
    compile_library(tmp_path, "libnvidia-ml.so.1", NVML, SUCCESS, 1)
    result = run_python(
        """
        import torch
        torch.version.cuda = "13.0"
        import torchdevice_ext, torchdevice
        print(torchdevice.status())
        """,
        TORCH_DEVICE_BACKEND_AUTOLOAD="0",
        LD_LIBRARY_PATH=str(tmp_path),
        CUDA_VISIBLE_DEVICES=None,
        TORCHDEVICE=None,
    )
    assert result.stdout == "Status(active=False, reason='a real NVIDIA GPU works here')\n"
    assert result.stderr == ""


def test_the_switch_activates_beside_a_gpu(run_python: RunPython, tmp_path: Path) -> None:
    compile_library(tmp_path, "libnvidia-ml.so.1", NVML, SUCCESS, 1)
    run_python(
        """
        import torch, torchdevice
        assert torchdevice.status().active
        assert torch.cuda.device_count() == 1
        assert torch.ones(2, device="cuda").sum().item() == 2
        """,
        LD_LIBRARY_PATH=str(tmp_path),
        CUDA_VISIBLE_DEVICES=None,
        TORCHDEVICE="1",
    )
