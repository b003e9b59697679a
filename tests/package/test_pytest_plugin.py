"""The pytest plug-in: devices, memory, the limit of fallbacks, leaks, marks; in one process and with xdist."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import torch  # noqa: F401  before _C, so that the backend is the activated one

from tests.conftest import RunPython
from torchdevice import _C
from torchdevice.testing.pytest_settings import differ, variables

pytest_plugins = ["pytester"]

over_mps = pytest.mark.skipif(_C.native_backend_name() != "mps", reason="nothing falls back over the CPU")
in_one_and_in_two = pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one process", "xdist"])

#: In a conftest.py: what tests say fell back, as nothing does over the CPU.
PRETENDED = """
    import pytest
    from torchdevice.testing.pytest_watch import Watch

    CALLS = {}

    def take(watch):
        taken = dict(CALLS)
        CALLS.clear()
        return taken

    Watch._take = take

    @pytest.fixture
    def fall():
        return lambda name, calls: CALLS.update({name: calls})
"""


@pytest.fixture(autouse=True)
def without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHDEVICE", "TORCHDEVICE_COUNT", "TORCHDEVICE_MEMORY", "TORCHDEVICE_PROFILE", "TORCHDEVICE_REPORT"):
        monkeypatch.delenv(name, raising=False)


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments, timeout=300)


def usage_error(pytester: pytest.Pytester, *arguments: str) -> str:
    """What is said of such arguments, without the usage itself."""
    result = run(pytester, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    return result.stderr.str().rstrip()


def test_inert_without_its_options(pytester: pytest.Pytester) -> None:
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
    result = run(pytester, "--strict-markers", "-Werror")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("torchdevice:*")


def test_torch_and_torchdevice_may_be_there_before_pytest(pytester: pytest.Pytester, root: Any) -> None:
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
def test_devices_at_collection(pytester: pytest.Pytester, workers: list[str]) -> None:
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
    result = run(pytester, *options, *workers)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"torchdevice: 2 devices over {_C.native_backend_title()}, profile a100, memory 1GiB"])


def test_in_an_ini_file(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ntorchdevice = true")
    pytester.makepyfile("import torch\ndef test_it(): assert torch.cuda.is_available()")
    result = run(pytester)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"torchdevice: 1 device over {_C.native_backend_title()}, no profile"])


def test_before_any_conftest(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("import torch\nCOUNT = torch.cuda.device_count()")
    pytester.makepyfile("from conftest import COUNT\ndef test_it(): assert COUNT == 3")
    run(pytester, "--torchdevice-count=3").assert_outcomes(passed=1)


def test_cuda_is_not_initialised(pytester: pytest.Pytester) -> None:
    """Else tests could not fork."""
    pytester.makepyfile("import torch\ndef test_it(): assert not torch.cuda.is_initialized()")
    run(pytester, "--torchdevice-leaks", "--torchdevice-report=out.json").assert_outcomes(passed=1)


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
def test_bad_values(pytester: pytest.Pytester, option: str, error: str) -> None:
    """With xdist they are said once, before there are workers."""
    said = usage_error(pytester, option, "-n", "1")
    assert error in said
    assert "Traceback" not in said


def test_torch_that_was_there_before_with_other_settings(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(early="import torch")
    pytester.makepyfile("import torch\ndef test_it(): assert torch.cuda.device_count() == 1")
    assert usage_error(pytester, "-p", "early", "--torchdevice-count=2", "--torchdevice-memory=1GiB") == (
        "ERROR: --torchdevice: torch was imported before with other settings, which cannot change any more; set "
        "TORCHDEVICE_COUNT=2 TORCHDEVICE_MEMORY=1GiB in the environment, or keep what imports torch from doing so "
        "before pytest has read its options (a plug-in, or what calls pytest.main)"
    )
    run(pytester, "-p", "early", "--torchdevice-count=1").assert_outcomes(passed=1)


def test_settings_in_the_environment(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """They hold where no option says otherwise."""
    pytester.makepyfile(early="import torch")
    pytester.makepyfile("import torch\ndef test_it(): assert torch.cuda.device_count() == 2")
    monkeypatch.setenv("TORCHDEVICE_COUNT", "2")
    run(pytester, "--torchdevice").assert_outcomes(passed=1)
    run(pytester, "-p", "early", "--torchdevice-count=2").assert_outcomes(passed=1)
    monkeypatch.setenv("TORCHDEVICE_COUNT", "5")
    run(pytester, "--torchdevice-count=2").assert_outcomes(passed=1)
    monkeypatch.setenv("TORCHDEVICE", "0")
    assert usage_error(pytester, "--torchdevice") == (
        "ERROR: --torchdevice: TORCHDEVICE=0 is set, which keeps torchdevice out; unset one of them"
    )


def test_a_torch_without_an_engine(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        early="import torchdevice.engine, pathlib\ntorchdevice.engine.ENGINES = pathlib.Path('nowhere')"
    )
    assert usage_error(pytester, "-p", "early", "--torchdevice") == (
        "ERROR: --torchdevice: torchdevice is not active: it has not been built (nowhere holds no engine); reinstall "
        "torchdevice-ext"
    )


def test_no_torch(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(early="import sys\nsys.modules['torch'] = None")
    assert usage_error(pytester, "-p", "early", "--torchdevice") == (
        "ERROR: --torchdevice: torchdevice is not active: import of torch halted; None in sys.modules"
    )


@in_one_and_in_two
def test_marks(pytester: pytest.Pytester, workers: list[str]) -> None:
    """In a process of its own where this one has other devices: with fixtures, options, skips and output as here."""
    pytester.makeconftest(
        """
        import os
        import pytest

        def pytest_addoption(parser):
            parser.addoption("--word")

        @pytest.fixture
        def own_process(request):
            yield os.getpid() != request.config.stash.get("pid", None)
        """
    )
    pytester.makepyfile(
        """
        import os
        import sys
        import pytest
        import torch

        HERE = os.environ.get("HERE") or os.environ.setdefault("HERE", str(os.getpid()))
        IS_HERE = HERE == str(os.getpid())

        @pytest.mark.torchdevice(count=2, memory="1GiB")
        @pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
        @pytest.mark.parametrize("text", ["[a::b]", "c"])
        def test_other_devices(text, own_process, tmp_path, request):
            assert own_process and not IS_HERE and request.config.option.word == "hello"
            assert torch.cuda.device_count() == 2
            assert torch.cuda.get_device_properties(1).total_memory == 2**30

        @pytest.mark.torchdevice(count=1)
        def test_the_same_devices():
            assert IS_HERE

        @pytest.mark.torchdevice(profile="h100")
        class TestOfAClass:
            @pytest.mark.torchdevice(count=2)
            def test_both(self):
                assert torch.cuda.device_count() == 2 and "H100" in torch.cuda.get_device_name()

        @pytest.mark.torchdevice(count=3)
        def test_skips():
            pytest.skip("not today")

        @pytest.mark.torchdevice(count=3)
        @pytest.mark.xfail(reason="known")
        def test_is_expected_to_fail():
            assert False

        @pytest.mark.torchdevice(count=3)
        def test_fails():
            print("said in the test")
            assert torch.cuda.device_count() == 4
        """
    )
    result = run(pytester, "--torchdevice", "--word=hello", "-rs", *workers)
    result.assert_outcomes(passed=4, skipped=1, xfailed=1, failed=1)
    result.stdout.fnmatch_lines_random(["*not today*", "said in the test", "E * assert 3 == 4"])


def test_marks_that_cannot_be_followed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os
        import pytest

        @pytest.mark.torchdevice(cuont=2)
        def test_argument(): pass

        @pytest.mark.torchdevice(2)
        def test_position(): pass

        @pytest.mark.torchdevice(profile="a10")
        def test_profile(): pass

        @pytest.mark.torchdevice(memory="lots")
        def test_memory(): pass

        @pytest.mark.torchdevice(count=2)
        def test_crash():
            os.write(2, b"last words")
            os._exit(9)
        """
    )
    result = run(pytester, "--torchdevice")
    result.assert_outcomes(errors=5)
    result.stdout.fnmatch_lines(
        [
            "@pytest.mark.torchdevice: cuont: there is no such argument; did you mean 'count'?",
            "@pytest.mark.torchdevice: takes count, memory, profile by name",
            "@pytest.mark.torchdevice: profile: there is no 'a10'; did you mean 'a10g'?",
            "the process of this test ended with 4",
            "--torchdevice: torchdevice is not active: TORCHDEVICE_MEMORY must be *",
            "the process of this test ended with 9",
        ]
    )


@in_one_and_in_two
def test_the_limit_of_fallbacks(pytester: pytest.Pytester, workers: list[str]) -> None:
    """Of all tests together, whatever process they run in."""
    pytester.makeconftest(PRETENDED)
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", range(4))
        def test_falls(fall, number):
            fall("aten::eigh", 2)

        @pytest.mark.torchdevice(count=2)
        def test_elsewhere(fall):
            fall("aten::mm", 1)
        """
    )
    within = run(pytester, "--torchdevice-max-fallbacks=9", "--torchdevice-report=out.json", *workers)
    within.assert_outcomes(passed=5)
    assert within.ret == pytest.ExitCode.OK
    data = json.loads((pytester.path / "out.json").read_text())
    assert data["operators"] == {"aten::eigh": 8, "aten::mm": 1}
    over = run(pytester, "--torchdevice-max-fallbacks=8", *workers)
    over.assert_outcomes(passed=5)
    assert over.ret == pytest.ExitCode.TESTS_FAILED
    over.stdout.fnmatch_lines(
        [
            "9 calls fell back to the CPU, and --torchdevice-max-fallbacks allows 8; the limit was passed by "
            "test_the_limit_of_fallbacks.py::test_*"
        ]
    )


@in_one_and_in_two
def test_fallbacks_outside_of_tests(pytester: pytest.Pytester, workers: list[str]) -> None:
    pytester.makeconftest(PRETENDED)
    pytester.makepyfile("import conftest\nconftest.CALLS['aten::mm'] = 1\ndef test_it(): pass")
    result = run(pytester, "--torchdevice-max-fallbacks=0", "--torchdevice-report=out.json", *workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    count = len(workers) or 1
    result.stdout.fnmatch_lines([f"{count} calls fell back to the CPU, *what is outside of tests (1 of aten::mm)"])
    assert json.loads((pytester.path / "out.json").read_text())["outside_of_tests"] == {"aten::mm": count}


@over_mps
@in_one_and_in_two
def test_real_fallbacks(pytester: pytest.Pytester, workers: list[str]) -> None:
    pytester.makepyfile(
        """
        import torch

        def test_stays():
            assert torch.ones(2, device="cuda").add(1).sum().item() == 4

        def test_falls():
            torch.ones(2, dtype=torch.float64, device="cuda").mul(2)
        """
    )
    result = run(pytester, "--torchdevice-max-fallbacks=0", "--torchdevice-report=out.json", *workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*the limit was passed by test_real_fallbacks.py::test_falls (*"])
    tests = json.loads((pytester.path / "out.json").read_text())["tests"]
    assert tests["test_real_fallbacks.py::test_stays"]["fallbacks"] == {}
    assert tests["test_real_fallbacks.py::test_falls"]["fallbacks"]["aten::mul.Tensor"] == 1


@in_one_and_in_two
def test_the_report(pytester: pytest.Pytester, workers: list[str]) -> None:
    pytester.makeconftest(PRETENDED)
    pytester.makepyfile(
        """
        import pytest

        def test_passes(fall):
            fall("aten::mm", 3)

        def test_fails():
            assert False

        @pytest.mark.skip
        def test_is_skipped():
            pass
        """
    )
    run(pytester, "--torchdevice-report=out.json", "--torchdevice-profile=t4", *workers)
    data = json.loads((pytester.path / "out.json").read_text())
    assert (data["backend"], data["devices"]) == (_C.native_backend_name(), 1)
    assert data["settings"]["TORCHDEVICE_PROFILE"] == "t4"
    assert (data["fallbacks"], data["max_fallbacks"], data["over_the_limit"]) == (3, None, None)
    assert {name.partition("::")[2]: (test["outcome"], test["fallbacks"]) for name, test in data["tests"].items()} == {
        "test_passes": ("passed", {"aten::mm": 3}),
        "test_fails": ("failed", {}),
        "test_is_skipped": ("skipped", {}),
    }


def test_a_report_that_cannot_be_written(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import os\ndef test_it(): os.mkdir('out.json')")
    result = run(pytester, "--torchdevice-report=out.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["--torchdevice-report could not be written: *"])


LEAKS = """
    import unittest
    import pytest
    import torch

    KEPT = []

    @pytest.fixture
    def tensor():
        return torch.ones(1000, device="cuda")

    @pytest.fixture(scope="session")
    def of_the_session():
        return torch.ones(4000, device="cuda")

    @pytest.fixture(scope="module")
    def weights(request):
        return torch.ones(2000, device="cuda"), request.getfixturevalue("of_the_session")

    class TestHere:
        def test_fixtures_and_attributes(self, tensor, weights):
            self.kept = torch.ones(5, device="cuda")

    class TestUnittest(unittest.TestCase):
        def test_attributes(self):
            self.kept = torch.ones(5, device="cuda")

    def test_fails():
        kept = torch.ones(5, device="cuda")
        assert False

    def test_circle():
        circle = [torch.ones(5, device="cuda")]
        circle.append(circle)

    @pytest.mark.torchdevice(count=2)
    def test_leaks_elsewhere():
        KEPT.append(torch.ones(50, device="cuda:1"))

    def test_leaks(weights):
        KEPT.append(torch.ones(5, device="cuda"))
"""


@in_one_and_in_two
def test_leaks(pytester: pytest.Pytester, workers: list[str]) -> None:
    pytester.makepyfile(LEAKS)
    result = run(pytester, "--torchdevice-leaks", "--torchdevice-report=out.json", *workers)
    result.assert_outcomes(passed=5, failed=1, errors=2)
    result.stdout.fnmatch_lines_random(
        [
            "the test left memory allocated: 512 bytes on cuda:1 (--torchdevice-leaks)",
            "the test left memory allocated: 512 bytes on cuda:0 (--torchdevice-leaks)",
            "ERROR test_leaks.py::test_leaks_elsewhere*",
            "ERROR test_leaks.py::test_leaks -*",
        ]
    )
    tests = json.loads((pytester.path / "out.json").read_text())["tests"]
    left = {name.partition("::")[2]: test["left_bytes"] for name, test in tests.items() if test["left_bytes"]}
    assert left == {"test_leaks_elsewhere": {"cuda:1": 512}, "test_leaks": {"cuda:0": 512}}


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
