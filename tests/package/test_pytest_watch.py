"""What the pytest plug-in does with tests: marks, the limit of fallbacks, the report, leaks; also with xdist."""

from __future__ import annotations

import json

import pytest
import torch

from tests.package.conftest import RunPytest
from torchdevice import _C

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


@in_one_and_in_two
def test_marks(pytester: pytest.Pytester, run_pytest: RunPytest, workers: list[str]) -> None:
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
    result = run_pytest("--torchdevice", "--word=hello", "-rs", *workers)
    result.assert_outcomes(passed=4, skipped=1, xfailed=1, failed=1)
    result.stdout.fnmatch_lines_random(["*not today*", "said in the test", "E * assert 3 == 4"])


def test_marks_that_cannot_be_followed(pytester: pytest.Pytester, run_pytest: RunPytest) -> None:
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
    result = run_pytest("--torchdevice")
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
def test_the_limit_of_fallbacks(pytester: pytest.Pytester, run_pytest: RunPytest, workers: list[str]) -> None:
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
    within = run_pytest("--torchdevice-max-fallbacks=9", "--torchdevice-report=out.json", *workers)
    within.assert_outcomes(passed=5)
    assert within.ret == pytest.ExitCode.OK
    data = json.loads((pytester.path / "out.json").read_text())
    assert data["operators"] == {"aten::eigh": 8, "aten::mm": 1}
    over = run_pytest("--torchdevice-max-fallbacks=8", *workers)
    over.assert_outcomes(passed=5)
    assert over.ret == pytest.ExitCode.TESTS_FAILED
    over.stdout.fnmatch_lines(
        [
            "9 calls fell back to the CPU, and --torchdevice-max-fallbacks allows 8; the limit was passed by "
            "test_the_limit_of_fallbacks.py::test_*"
        ]
    )


@in_one_and_in_two
def test_fallbacks_outside_of_tests(pytester: pytest.Pytester, run_pytest: RunPytest, workers: list[str]) -> None:
    pytester.makeconftest(PRETENDED)
    pytester.makepyfile("import conftest\nconftest.CALLS['aten::mm'] = 1\ndef test_it(): pass")
    result = run_pytest("--torchdevice-max-fallbacks=0", "--torchdevice-report=out.json", *workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    count = len(workers) or 1
    result.stdout.fnmatch_lines([f"{count} calls fell back to the CPU, *what is outside of tests (1 of aten::mm)"])
    assert json.loads((pytester.path / "out.json").read_text())["outside_of_tests"] == {"aten::mm": count}


@over_mps
@in_one_and_in_two
def test_real_fallbacks(pytester: pytest.Pytester, run_pytest: RunPytest, workers: list[str]) -> None:
    pytester.makepyfile(
        """
        import torch

        def test_stays():
            assert torch.ones(2, device="cuda").add(1).sum().item() == 4

        def test_falls():
            torch.ones(2, dtype=torch.float64, device="cuda").mul(2)
        """
    )
    result = run_pytest("--torchdevice-max-fallbacks=0", "--torchdevice-report=out.json", *workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*the limit was passed by test_real_fallbacks.py::test_falls (*"])
    tests = json.loads((pytester.path / "out.json").read_text())["tests"]
    assert tests["test_real_fallbacks.py::test_stays"]["fallbacks"] == {}
    assert tests["test_real_fallbacks.py::test_falls"]["fallbacks"]["aten::mul.Tensor"] == 1


@in_one_and_in_two
def test_the_report(pytester: pytest.Pytester, run_pytest: RunPytest, workers: list[str]) -> None:
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
    run_pytest("--torchdevice-report=out.json", "--torchdevice-profile=t4", *workers)
    data = json.loads((pytester.path / "out.json").read_text())
    assert (data["backend"], data["devices"]) == (_C.native_backend_name(), 1)
    assert data["settings"]["TORCHDEVICE_PROFILE"] == "t4"
    assert (data["fallbacks"], data["max_fallbacks"], data["over_the_limit"]) == (3, None, None)
    assert {name.partition("::")[2]: (test["outcome"], test["fallbacks"]) for name, test in data["tests"].items()} == {
        "test_passes": ("passed", {"aten::mm": 3}),
        "test_fails": ("failed", {}),
        "test_is_skipped": ("skipped", {}),
    }


def test_a_report_that_cannot_be_written(pytester: pytest.Pytester, run_pytest: RunPytest) -> None:
    pytester.makepyfile("import os\ndef test_it(): os.mkdir('out.json')")
    result = run_pytest("--torchdevice-report=out.json")
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
        KEPT.append(torch.ones(5, device="cuda:1"))

    def test_leaks(weights):
        KEPT.append(torch.ones(5, device="cuda"))
"""


@in_one_and_in_two
def test_leaks(pytester: pytest.Pytester, run_pytest: RunPytest, workers: list[str]) -> None:
    before = torch.cuda.memory_allocated()
    one = torch.ones(5, device="cuda")
    size = torch.cuda.memory_allocated() - before
    del one
    pytester.makepyfile(LEAKS)
    result = run_pytest("--torchdevice-leaks", "--torchdevice-report=out.json", *workers)
    result.assert_outcomes(passed=5, failed=1, errors=2)
    result.stdout.fnmatch_lines_random(
        [
            f"the test left memory allocated: {size:,} bytes on cuda:1 (--torchdevice-leaks)",
            f"the test left memory allocated: {size:,} bytes on cuda:0 (--torchdevice-leaks)",
            "ERROR test_leaks.py::test_leaks_elsewhere*",
            "ERROR test_leaks.py::test_leaks -*",
        ]
    )
    tests = json.loads((pytester.path / "out.json").read_text())["tests"]
    left = {name.partition("::")[2]: test["left_bytes"] for name, test in tests.items() if test["left_bytes"]}
    assert left == {"test_leaks_elsewhere": {"cuda:1": size}, "test_leaks": {"cuda:0": size}}
