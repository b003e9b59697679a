"""The options of the pytest plug-in: what tests find, what is refused, and that it costs nothing without them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch  # noqa: F401  before _C, so that the backend is the activated one

from tests.conftest import RunPython
from tests.package.conftest import RunPytest
from torchdevice import _C
from torchdevice.testing.pytest_settings import differ, variables

pytest_plugins = ["pytester"]

in_one_and_in_two = pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one process", "xdist"])


def usage_error(run_pytest: RunPytest, *arguments: str) -> str:
    """What is said of such arguments."""
    result = run_pytest(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    return result.stderr.str().rstrip()


def test_inert_without_its_options(pytester: pytest.Pytester, run_pytest: RunPytest) -> None:
    """It loads nothing but itself, and marks choose nothing."""
    pytester.makepyfile(
        """
        import sys
        import pytest

        LOADED = {name for name in sys.modules if name.split(".")[0] in ("torch", "torchdevice")}

        @pytest.mark.torchdevice(count=2)
        def test_nothing_is_loaded(pytestconfig):
            assert pytestconfig.pluginmanager.get_plugin("torchdevice") is not None
            assert LOADED == {"torchdevice", "torchdevice.testing", "torchdevice.testing.pytest_plugin"}
            assert "torch" not in sys.modules
        """
    )
    result = run_pytest("--strict-markers", "-Werror")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("torchdevice:*")


def test_torch_and_torchdevice_may_be_there_before_pytest(
    pytester: pytest.Pytester, run_pytest: RunPytest, root: Any
) -> None:
    """Installed from a wheel, pytest would rewrite assertions in whatever a plug-in's distribution has."""
    pytester.makepyfile("def test_passes(): pass")
    information = pytester.mkdir("site") / "torchdevice_ext-9.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: torchdevice-ext\nVersion: 9\n")
    (information / "entry_points.txt").write_text("[pytest11]\ntorchdevice = torchdevice.testing.pytest_plugin\n")
    files = ["TorchDevice.py", "torchdevice_autoload.py", "torchdevice_ext.py"]
    files += [str(path.relative_to(root)) for path in (root / "torchdevice").rglob("*.py")]
    (information / "RECORD").write_text("".join(f"{name},,\n" for name in files))
    code = """if True:
        import sys
        sys.path.insert(0, "site")
        import torch, torchdevice, torchdevice_ext, pytest
        sys.exit(pytest.main(["-q", "-W", "error::pytest.PytestAssertRewriteWarning", "--torchdevice"]))
    """
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "1 passed" in process.stdout


@in_one_and_in_two
def test_devices_at_collection(pytester: pytest.Pytester, run_pytest: RunPytest, workers: list[str]) -> None:
    """Other projects skip by what torch says while their modules are imported."""
    pytester.makepyfile(
        """
        import pytest
        import torch

        requires_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
        requires_two = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")

        @requires_gpu
        def test_it_computes():
            assert torch.ones(3, device="cuda").sum().item() == 3

        @requires_two
        def test_devices():
            assert torch.cuda.device_count() == 2
            assert torch.cuda.get_device_name(1) == "NVIDIA A100-SXM4-80GB"
            assert torch.cuda.get_device_properties(1).total_memory == 2**30
        """
    )
    options = ["--torchdevice-count", "2", "--torchdevice-memory", "1GiB", "--torchdevice-profile", "a100"]
    result = run_pytest(*options, *workers)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"torchdevice: 2 devices over {_C.native_backend_title()}, profile a100, memory 1GiB"])


def test_in_an_ini_file(pytester: pytest.Pytester, run_pytest: RunPytest) -> None:
    pytester.makeini("[pytest]\ntorchdevice = true")
    pytester.makepyfile("import torch\ndef test_it(): assert torch.cuda.is_available()")
    result = run_pytest()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"torchdevice: 1 device over {_C.native_backend_title()}, no profile"])


def test_before_any_conftest(pytester: pytest.Pytester, run_pytest: RunPytest) -> None:
    pytester.makeconftest("import torch\nCOUNT = torch.cuda.device_count()")
    pytester.makepyfile("from conftest import COUNT\ndef test_it(): assert COUNT == 3")
    run_pytest("--torchdevice-count=3").assert_outcomes(passed=1)


def test_cuda_is_not_initialised(pytester: pytest.Pytester, run_pytest: RunPytest) -> None:
    """Else tests could not fork."""
    pytester.makepyfile("import torch\ndef test_it(): assert not torch.cuda.is_initialized()")
    run_pytest("--torchdevice-leaks", "--torchdevice-report=out.json").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ("--torchdevice-count=0", "--torchdevice-count: must be a number from 1 to 64, but is '0'"),
        ("--torchdevice-count=two", "--torchdevice-count: must be a number from 1 to 64, but is 'two'"),
        ("--torchdevice-profile=a10", "--torchdevice-profile: there is no 'a10'; did you mean 'a10g'?"),
        ("--torchdevice-profile=RTX5000", "--torchdevice-profile: there is no 'RTX5000'; did you mean 'rtx5090'?"),
        (
            "--torchdevice-profile=?",
            "--torchdevice-profile: there is no '?'; there are v100, t4, a100, a100-40gb, a10g, rtx3090, l4, l40s, "
            "rtx4090, h100, h200, rtx5090",
        ),
        (
            "--torchdevice-memory=lots",
            "--torchdevice: torchdevice is not active: TORCHDEVICE_MEMORY must be a size of at least 2MiB, such as "
            "8GiB, 500MB or a number of bytes, but it is 'lots'",
        ),
        (
            "--torchdevice-max-fallbacks=-1",
            "argument --torchdevice-max-fallbacks: must be 0 or more calls, but is '-1'",
        ),
        ("--torchdevice-report=no/such/file", "no/such/file: no such folder"),
        ("--torchdevice-report=.", ": a folder"),
    ],
)
def test_bad_values(pytester: pytest.Pytester, run_pytest: RunPytest, option: str, error: str) -> None:
    """With xdist they are said once, before there are workers."""
    said = usage_error(run_pytest, option, "-n", "1")
    assert error in said
    assert "Traceback" not in said


def test_torch_that_was_there_before_with_other_settings(pytester: pytest.Pytester, run_pytest: RunPytest) -> None:
    pytester.makepyfile(early="import torch")
    pytester.makepyfile("import torch\ndef test_it(): assert torch.cuda.device_count() == 1")
    assert usage_error(run_pytest, "-p", "early", "--torchdevice-count=2", "--torchdevice-memory=1GiB") == (
        "ERROR: --torchdevice: torch was imported before with other settings, which cannot change any more; set "
        "TORCHDEVICE_COUNT=2 TORCHDEVICE_MEMORY=1GiB in the environment, or keep what imports torch from doing so "
        "before pytest has read its options (a plug-in, or what calls pytest.main)"
    )
    run_pytest("-p", "early", "--torchdevice-count=1").assert_outcomes(passed=1)


def test_settings_in_the_environment(
    pytester: pytest.Pytester, run_pytest: RunPytest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold where no option says otherwise."""
    pytester.makepyfile(early="import torch")
    pytester.makepyfile("import torch\ndef test_it(): assert torch.cuda.device_count() == 2")
    monkeypatch.setenv("TORCHDEVICE_COUNT", "2")
    run_pytest("--torchdevice").assert_outcomes(passed=1)
    run_pytest("-p", "early", "--torchdevice-count=2").assert_outcomes(passed=1)
    monkeypatch.setenv("TORCHDEVICE_COUNT", "5")
    run_pytest("--torchdevice-count=2").assert_outcomes(passed=1)
    monkeypatch.setenv("TORCHDEVICE", "0")
    assert usage_error(run_pytest, "--torchdevice") == (
        "ERROR: --torchdevice: TORCHDEVICE=0 is set, which keeps torchdevice out; unset one of them"
    )


def test_a_torch_without_an_engine(pytester: pytest.Pytester, run_pytest: RunPytest) -> None:
    pytester.makepyfile(
        early="import torchdevice.engine, pathlib\ntorchdevice.engine.ENGINES = pathlib.Path('nowhere')"
    )
    assert usage_error(run_pytest, "-p", "early", "--torchdevice") == (
        "ERROR: --torchdevice: torchdevice is not active: it has not been built (nowhere holds no engine); reinstall "
        "torchdevice-ext"
    )


def test_no_torch(pytester: pytest.Pytester, run_pytest: RunPytest) -> None:
    pytester.makepyfile(early="import sys\nsys.modules['torch'] = None")
    assert usage_error(run_pytest, "-p", "early", "--torchdevice") == (
        "ERROR: --torchdevice: torchdevice is not active: import of torch halted; None in sys.modules"
    )


def test_what_may_be_asked_for() -> None:
    assert variables({"count": 2, "memory": None, "profile": "A100"}) == {
        "TORCHDEVICE_COUNT": "2",
        "TORCHDEVICE_PROFILE": "A100",
    }
    assert differ({"TORCHDEVICE_COUNT": "1"}) == []
    assert differ({"TORCHDEVICE_COUNT": "2"}) == ["TORCHDEVICE_COUNT=2"]


def test_it_is_loaded_without_torch(run_python: RunPython) -> None:
    run_python(
        """
        import sys, torchdevice.testing.pytest_plugin
        ours = {name for name in sys.modules if name.split(".")[0] in ("torch", "torchdevice")}
        assert ours == {"torchdevice", "torchdevice.testing", "torchdevice.testing.pytest_plugin"}
        """
    )
