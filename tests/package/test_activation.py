"""When torchdevice turns itself on, when it stays out, and what it says then."""

from __future__ import annotations

import pytest

from tests.conftest import RunPython

ACTIVE = "import torchdevice; assert torchdevice.status().active, torchdevice.status()\n"
INACTIVE = "import torchdevice; assert not torchdevice.status().active\n"


def test_import_torch_is_enough(run_python: RunPython) -> None:
    result = run_python("import torch; assert torch.cuda.is_available(); print(torch.ones(2).cuda())")
    assert result.stdout == "tensor([1., 1.], device='cuda:0')\n"
    assert result.stderr == ""


@pytest.mark.parametrize(
    "imports",
    [
        "import torchdevice_ext, torch",
        "import torch, torchdevice_ext",
        "import torch, torchdevice_ext, importlib; importlib.reload(torchdevice_ext)",
        "import torchdevice_ext",
        "import torchdevice",
    ],
)
def test_any_order_of_imports(run_python: RunPython, imports: str) -> None:
    run_python(f"{imports}\nimport torch\nassert torch.ones(1).cuda().is_cuda\n{ACTIVE}")


def test_explicit_import_without_autoload(run_python: RunPython) -> None:
    run_python(
        f"import torch; assert not torch.cuda.is_available()\nimport torchdevice_ext\n"
        f"assert torch.ones(1, device='cuda').is_cuda\n{ACTIVE}",
        TORCH_DEVICE_BACKEND_AUTOLOAD="0",
    )


def test_torchs_own_switch_keeps_it_out(run_python: RunPython) -> None:
    code = f"import torch; assert not torch.cuda.is_available()\n{INACTIVE}"
    assert run_python(code, TORCH_DEVICE_BACKEND_AUTOLOAD="0").stderr == ""


def test_switched_off(run_python: RunPython) -> None:
    result = run_python(
        "import torch, torchdevice_ext, torchdevice; print(torch.cuda.is_available(), torchdevice.status())",
        TORCHDEVICE="0",
    )
    assert result.stdout == "False Status(active=False, reason='switched off by TORCHDEVICE=0')\n"
    assert result.stderr == ""


def test_activation_from_many_threads_happens_once(run_python: RunPython) -> None:
    run_python(
        """
        import threading, torch, torchdevice
        from torchdevice import activation
        installs = []
        install = activation._install
        activation._install = lambda: (installs.append(1), install())
        threads = [threading.Thread(target=torchdevice.activate) for _ in range(16)]
        [t.start() for t in threads]; [t.join() for t in threads]
        assert len(installs) == 1
        assert torch.ones(2, device="cuda").sum().item() == 2
        """,
        TORCH_DEVICE_BACKEND_AUTOLOAD="0",
    )


def test_a_rocm_build_of_torch_is_told_what_to_install(run_python: RunPython) -> None:
    result = run_python(
        """
        import torch
        torch.version.hip, torch.__version__ = "7.0", torch.__version__.partition("+")[0] + "+rocm7.0"
        import torchdevice_ext
        print(torch.cuda.is_available(), torch.__version__)
        """,
        TORCH_DEVICE_BACKEND_AUTOLOAD="0",
    )
    available, version = result.stdout.split()
    assert available == "False"
    public = version.split("+")[0]
    assert (
        f"torchdevice is not active: this torch is a ROCm build ({version}), for AMD's GPUs; install a CPU or a CUDA "
        f"build, such as pip install torch=={public}"
    ) in result.stderr


def test_an_initialised_cuda_is_left_alone(run_python: RunPython) -> None:
    result = run_python(
        """
        import torch
        torch.cuda._initialized = True
        try:
            import torchdevice_ext
        except ImportError as error:
            print(error)
        """,
        TORCH_DEVICE_BACKEND_AUTOLOAD="0",
    )
    assert result.stdout == (
        "torchdevice cannot be activated after CUDA was initialised: tensors and streams of an NVIDIA GPU may exist, "
        "which nothing here could use. Import torchdevice_ext before the first use of cuda.\n"
    )


def test_cuda_that_a_program_tried_in_vain_is_no_obstacle(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        try:
            torch.cuda.init()
        except (AssertionError, RuntimeError):
            pass
        else:
            raise AssertionError("a GPU?")
        import torchdevice_ext
        assert torch.ones(2, device="cuda").sum().item() == 2
        """,
        TORCH_DEVICE_BACKEND_AUTOLOAD="0",
    )


def test_a_failure_inside_never_breaks_import_torch(run_python: RunPython) -> None:
    result = run_python(
        """
        import sys, types
        broken = types.ModuleType("torchdevice._C")
        broken.backward_has_run = lambda: 1 / 0
        import torchdevice
        sys.modules["torchdevice._C"] = torchdevice._C = broken
        import torch
        print(torch.ones(2).sum().item(), torchdevice.status().reason)
        """
    )
    assert result.stdout == "2.0 activation failed: ZeroDivisionError: division by zero\n"
    assert result.stderr.count("torchdevice is not active: activation failed: ZeroDivisionError") == 1


def test_a_failure_half_way_leaves_torch_as_it_was(run_python: RunPython) -> None:
    result = run_python(
        """
        import sys, types
        patches = types.ModuleType("torchdevice.patches")
        patches.apply = lambda: 1 / 0
        import torchdevice
        sys.modules["torchdevice.patches"] = torchdevice.patches = patches
        import torch
        assert not torch.cuda.is_available()
        print(torch.ones(2).sum().item())
        try:
            torch.ones(2, device="cuda")
        except (AssertionError, RuntimeError):
            pass  # what this build of torch says without a GPU
        else:
            raise AssertionError("made without torchdevice")
        """
    )
    assert result.stdout == "2.0\n"
    assert result.stderr.count("torchdevice is not active: activation failed: ZeroDivisionError") == 1


def test_a_failed_activation_can_be_tried_again(run_python: RunPython) -> None:
    """All that it had installed was taken back: kernels, allocators, hooks, the guard, the profiler's methods."""
    run_python(
        """
        import torch, torchdevice
        from torchdevice import _C, patches
        names = dict(vars(torch._C))
        def answers():
            asked = []
            for question in (
                lambda: torch.empty(2, device="cuda"),
                lambda: torch.empty(2).pin_memory(),
                lambda: torch._C._accelerator_getAccelerator(),
                lambda: torch._C._autograd._profiler_enabled(),
                lambda: torch._C._dispatch_dump("aten::add.Tensor"),
                lambda: torch._C._dispatch_dump_table("aten::nonzero"),
                lambda: torch._C._get_accelerator(),
            ):
                try:
                    asked.append(repr(question()))
                except Exception as error:
                    asked.append(f"{type(error).__name__}: {error}".splitlines()[0])
            return asked
        before = answers()
        apply = patches.apply
        patches.apply = lambda: 1 / 0
        try:
            torchdevice.activate()
        except ZeroDivisionError:
            pass
        else:
            raise AssertionError
        assert dict(vars(torch._C)) == names
        for one, other in zip(before, answers()):
            assert one == other, (one, other)
        patches.apply = apply
        assert torchdevice.activate().active
        x = torch.randn(4, device="cuda", requires_grad=True)
        x.mul(2).sum().backward()
        assert x.grad.tolist() == [2.0] * 4
        """,
        TORCH_DEVICE_BACKEND_AUTOLOAD="0",
    )


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("TORCHDEVICE_COUNT", "many", "TORCHDEVICE_COUNT"),
        ("TORCHDEVICE_COUNT", "65", "TORCHDEVICE_COUNT"),
        ("TORCHDEVICE_CAPABILITY", "ampere", "TORCHDEVICE_CAPABILITY"),
        ("TORCHDEVICE_PROFILE", "geforce", "TORCHDEVICE_PROFILE"),
    ],
)
def test_bad_settings_are_named(run_python: RunPython, variable: str, value: str, message: str) -> None:
    result = run_python("import torch; assert not torch.cuda.is_available()", **{variable: value})
    assert "torchdevice is not active: activation failed: ValueError" in result.stderr
    assert message in result.stderr


def test_late_import_after_a_backward_is_refused(run_python: RunPython) -> None:
    result = run_python(
        """
        import torch
        torch.ones(1, requires_grad=True).sum().backward()
        import torchdevice_ext
        """,
        check=False,
        TORCH_DEVICE_BACKEND_AUTOLOAD="0",
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        "ImportError: torchdevice cannot be activated after a backward pass: autograd has already started its device "
        "threads and would never serve cuda. Import torchdevice_ext before the first backward(), or install "
        "torchdevice-ext so that `import torch` activates it."
    )


def test_tensors_outlive_the_interpreter(run_python: RunPython) -> None:
    result = run_python(
        """
        import atexit, torch
        kept = [torch.ones(10, 10, device="cuda", requires_grad=True)]
        (kept[0] @ kept[0]).sum().backward()
        class Late:
            def __del__(self):
                self.value = self.tensor + 1
        late = Late(); late.tensor = kept[0].detach()
        atexit.register(lambda: print((kept[0] + 1).sum().item()))
        """
    )
    assert result.stdout == "200.0\n"
    assert result.stderr == ""
