"""`import TorchDevice`: every name that the predecessor documented answers truthfully, or with one error."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.conftest import RunPython
from tests.docs.markdown import tracked

#: What was documented, by module.
NAMES = {
    "": ["auto_log", "TorchDevice", "get_device", "__version__", "core", "ops", "utils"],
    ".core.device": ["DeviceManager", "get_default_device"],
    ".core.hardware_info": [
        "is_pytorch_compiled_with_cuda",
        "is_native_cuda_available",
        "is_native_cuda_built",
        "is_native_mps_available",
        "is_native_mps_built",
    ],
    ".core.logger": [
        "log_message",
        "log_info",
        "log_warning",
        "log_error",
        "auto_log",
        "device_operation_context",
    ],
    ".core.patch": ["ensure_patched", "apply_patches", "tensor_creation_wrapper"],
    ".utils": [
        "is_cuda_effectively_available",
        "is_mps_effectively_available",
        "get_current_device_type",
        "is_cpu_override_active",
    ],
    ".utils.compile": ["compile", "reset"],
    ".utils.profiling": ["profile", "ProfilerActivity"],
    ".utils.type_utils": ["promote_types", "finfo"],
    ".ops.memory": ["track_usage", "get_memory_stats", "empty_cache"],
    ".ops.memory.stats": ["track_usage", "get_memory_stats"],
    ".ops.streams": ["get_current_stream", "Stream", "synchronize"],
    ".ops.nn": ["layers", "attention", "init", "Linear"],
    ".ops.nn.layers": ["Linear", "Conv2d"],
    ".ops.nn.attention": ["sdpa_kernel", "MultiheadAttention", "scaled_dot_product_attention"],
    ".ops.nn.init": ["xavier_uniform_", "kaiming_normal_"],
    ".ops.random": ["manual_seed", "get_rng_state", "randn"],
    ".ops.events": ["Event"],
    ".ops.autograd": ["Function", "grad"],
    ".ops.optim": ["SGD", "lr_scheduler"],
    ".ops.optim.lr_scheduler": ["StepLR"],
}
WARNING = (
    "DeprecationWarning: TorchDevice is the old name of torchdevice, which needs no import: `import torch` makes "
    "device 'cuda' work. Remove `import TorchDevice`; what else it offered is in torch and in `import torchdevice`"
)


def test_every_name_is_there(run_python: RunPython) -> None:
    """Imported by name, and as attributes of the one import."""
    lines = ["import TorchDevice, sys"]
    for module, names in NAMES.items():
        path = f"TorchDevice{module}"
        lines += [f"import {path}", f"assert sys.modules['{path}'] is {path}"]
        lines += [
            f"exec('from {path} import {name} as it', own := {{}}); assert own['it'] is {path}.{name}" for name in names
        ]
    run_python("\n".join(lines))


@pytest.mark.parametrize("order", ["import torch, TorchDevice", "import TorchDevice, torch"])
@pytest.mark.parametrize("autoload", [None, "0"])
def test_it_activates_in_any_order(run_python: RunPython, order: str, autoload: str | None) -> None:
    code = f"{order}; print(torch.ones(2, device='cuda').device, TorchDevice.TorchDevice(), TorchDevice.get_device())"
    assert run_python(code, TORCH_DEVICE_BACKEND_AUTOLOAD=autoload).stdout == "cuda:0 cuda cuda\n"


def test_one_warning_for_whoever_imports_it(run_python: RunPython) -> None:
    code = "import TorchDevice\nimport TorchDevice.core.device\nfrom TorchDevice.ops import nn\nimport TorchDevice"
    stderr = run_python(code).stderr
    assert stderr.count("Warning") == 1
    assert f"<string>:1: {WARNING}" in stderr


def test_imported_again(run_python: RunPython) -> None:
    run_python(
        """
        import importlib, sys, TorchDevice
        finders = len(sys.meta_path)
        importlib.reload(TorchDevice)
        del sys.modules["TorchDevice"]
        import TorchDevice
        from TorchDevice.core.device import DeviceManager
        assert TorchDevice.core.device.DeviceManager is DeviceManager
        assert len(sys.meta_path) == finders
        """
    )


def test_devices(run_python: RunPython) -> None:
    run_python(
        """
        import torch, TorchDevice
        from TorchDevice.core.device import DeviceManager, get_default_device
        from TorchDevice.utils import get_current_device_type, is_cpu_override_active, is_cuda_effectively_available
        cuda, second = torch.device("cuda"), torch.device("cuda:1")
        assert DeviceManager.get_default_device() == get_default_device() == TorchDevice.TorchDevice() == cuda
        assert TorchDevice.TorchDevice("cuda", 1) == TorchDevice.TorchDevice("cuda:1") == second
        assert TorchDevice.get_device("cpu") == TorchDevice.get_device(torch.device("cpu")) == torch.device("cpu")
        assert get_current_device_type() == "cuda" and is_cuda_effectively_available()
        assert is_cpu_override_active() is False
        """
    )


def test_where_torchdevice_is_switched_off(run_python: RunPython) -> None:
    """The CPU, or MPS, is the truth then."""
    code = """
        import TorchDevice, torch
        from TorchDevice.core.hardware_info import is_native_cuda_available, is_pytorch_compiled_with_cuda
        from TorchDevice.utils import is_cuda_effectively_available
        assert is_pytorch_compiled_with_cuda() == (torch.version.cuda is not None)
        print(TorchDevice.get_device(), is_native_cuda_available(), is_cuda_effectively_available())
    """
    if "mps" not in run_python("import os; print(os.environ.get('TORCHDEVICE_BACKEND'))").stdout:
        assert run_python(code, TORCHDEVICE="0").stdout == "cpu False False\n"


def test_the_machine_is_not_our_device(run_python: RunPython) -> None:
    run_python(
        """
        import torch, TorchDevice
        from TorchDevice.core.hardware_info import *
        from torchdevice import _C
        assert torch.cuda.is_available() and torch.version.cuda
        assert is_native_cuda_available() is False
        assert is_native_cuda_built() is is_pytorch_compiled_with_cuda() is _C.torch_is_cuda_build()
        assert is_native_mps_available() is torch.backends.mps.is_available()
        """
    )


def test_memory_and_streams(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        from TorchDevice.ops.memory import get_memory_stats, track_usage
        from TorchDevice.ops.streams import get_current_stream
        kept = torch.ones(1000, device="cuda")
        assert track_usage() == {
            name: getattr(torch.cuda, name)()
            for name in ("memory_allocated", "memory_reserved", "max_memory_allocated", "max_memory_reserved")
        }
        assert track_usage("cuda:0")["memory_allocated"] > 0
        assert get_memory_stats() == torch.cuda.memory_stats()
        assert get_current_stream() == torch.cuda.current_stream()
        """
    )


def test_nothing_is_wrapped(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        from TorchDevice.core.patch import apply_patches, ensure_patched, tensor_creation_wrapper
        assert tensor_creation_wrapper(torch.ones) is torch.ones
        apply_patches(), ensure_patched()
        """
    )


def test_the_log(run_python: RunPython) -> None:
    process = run_python(
        """
        import logging, sys, torch
        logging.basicConfig(level="INFO", stream=sys.stdout, format="%(name)s %(levelname)s %(funcName)s: %(message)s")
        from TorchDevice import auto_log
        from TorchDevice.core.logger import *

        @auto_log
        def inner(x): return x

        @auto_log()
        def outer(x, *, y): return inner(x)

        def program():
            outer(torch.ones(2, device="cuda"), y=1)
            with device_operation_context():
                inner(3)
            log_info("%s left", 3), log_warning("careful"), log_error("bad"), log_message("made", "torch.device")

        program()
        logging.getLogger("torchdevice").setLevel("WARNING")
        inner(4)
        """
    )
    tensor = "Tensor([2], torch.float32, cuda:0)"
    assert process.stdout.splitlines() == [
        f"torchdevice INFO program: called outer({tensor}, y=1): {tensor}",
        "torchdevice INFO program: 3 left",
        "torchdevice WARNING program: careful",
        "torchdevice ERROR program: bad",
        "torchdevice INFO program: torch.device: made",
    ]


def test_the_cpu_override(run_python: RunPython) -> None:
    """The predecessor's own four cases: on, off, objects from before, and `.to`."""
    run_python(
        """
        import torch, TorchDevice
        from TorchDevice.core.device import DeviceManager, get_default_device
        from TorchDevice.utils import get_current_device_type, is_cpu_override_active
        before = torch.device("cuda")
        assert torch.device("cpu:-1").type == "cpu"
        assert is_cpu_override_active() is DeviceManager.cpu_override() is True
        assert get_default_device() == TorchDevice.TorchDevice() == torch.device("cpu")
        assert get_current_device_type() == "cpu"
        assert torch.ones(2, device="cuda").to(before).device.type == "cpu"
        assert DeviceManager.torch_device_replacement("cuda") == torch.device("cpu")
        assert torch.ones(2).to("cpu:-1").device.type == "cpu"
        assert is_cpu_override_active() is DeviceManager.cpu_override() is False
        assert get_current_device_type() == "cuda" and torch.ones(2).to(before).device.type == "cuda"
        assert DeviceManager.torch_device_replacement() == torch.device("cuda")
        for _ in range(2):
            assert TorchDevice.get_device("cpu:-1") == TorchDevice.TorchDevice("cpu", -1) == torch.device("cpu")
            assert not is_cpu_override_active()
        """
    )


def test_the_redirect_policy(run_python: RunPython) -> None:
    code = "import TorchDevice, torch; print(TorchDevice.get_device('cpu'), torch.ones(2).device)"
    assert run_python(code).stdout == "cpu cpu\n"
    assert run_python(code, TORCH_ALLOW_REDIRECTS="true").stdout == "cuda cuda:0\n"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (
            "import TorchDevice; TorchDevice.get_divice",
            "AttributeError: module 'TorchDevice' has no attribute 'get_divice'; did you mean 'get_device'?",
        ),
        (
            "import TorchDevice; TorchDevice.DeviceManager",
            "AttributeError: module 'TorchDevice' has no attribute 'DeviceManager'; did you mean 'DeviceManager' of "
            "TorchDevice.core.device?",
        ),
        (
            "import TorchDevice; TorchDevice.xyzzy",
            "AttributeError: module 'TorchDevice' has no attribute 'xyzzy'; it has TorchDevice, auto_log, get_device, "
            "core, ops, utils",
        ),
        (
            "import TorchDevice; TorchDevice.ops.nn.layers.Linea",
            "AttributeError: module 'TorchDevice.ops.nn.layers' has no attribute 'Linea'; did you mean 'Linear'?",
        ),
        (
            "from TorchDevice.core.device import DeviceManger",
            "ModuleNotFoundError: there is no 'DeviceManger' in TorchDevice.core.device; did you mean 'DeviceManager'?",
        ),
        (
            "import TorchDevice.ops.memory.statistics",
            "ModuleNotFoundError: there is no 'statistics' in TorchDevice.ops.memory; did you mean 'stats'?",
        ),
        (
            "from TorchDevice import log_info",
            "ModuleNotFoundError: there is no 'log_info' in TorchDevice; did you mean 'log_info' of "
            "TorchDevice.core.logger?",
        ),
    ],
)
def test_names_that_never_existed(run_python: RunPython, code: str, error: str) -> None:
    catch = f"try: exec({code!r})\nexcept Exception as error: print(type(error).__name__, error, sep=': ')"
    assert run_python(f"import sys\n{catch}").stdout.splitlines() == [error]


def test_other_missing_modules_are_not_our_matter(run_python: RunPython) -> None:
    run_python(
        """
        import TorchDevice, importlib.util
        assert importlib.util.find_spec("TorchDeviceX") is None
        assert importlib.util.find_spec("TorchDevice.core.device").name == "TorchDevice.core.device"
        assert not hasattr(TorchDevice, "__wrapped__")
        """
    )


def test_too_late_is_an_error(run_python: RunPython) -> None:
    code = """
        import torch
        torch.ones(1, requires_grad=True).sum().backward()
        import TorchDevice
    """
    stderr = run_python(code, check=False, TORCH_DEVICE_BACKEND_AUTOLOAD="0").stderr
    assert re.search("^ImportError: torchdevice cannot be activated after a backward pass", stderr, re.MULTILINE)


def test_import_torch_does_not_load_it(run_python: RunPython) -> None:
    run_python("import sys, torch; assert not [name for name in sys.modules if name.startswith('TorchDevice')]")


def test_a_disk_that_ignores_case_can_hold_it() -> None:
    """No two names differ in case alone, and Python takes the file for one name and the folder for the other."""
    names = {part for name in tracked() for part in (name, *map(str, Path(name).parents))}
    assert len({name.lower() for name in names}) == len(names)
    from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader

    finder = FileFinder(str(Path(__file__).resolve().parents[2]), (SourceFileLoader, SOURCE_SUFFIXES))
    specs = {name: finder.find_spec(name) for name in ("TorchDevice", "torchdevice")}
    files = [Path(spec.origin).name for spec in specs.values() if spec is not None and spec.origin is not None]
    assert files == ["TorchDevice.py", "__init__.py"]
    assert sys.modules.get("TorchDevice") is None
