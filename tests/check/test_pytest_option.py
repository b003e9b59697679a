"""`pytest --torchdevice-check`: a test in which something is found fails."""

from __future__ import annotations

import pytest
import torch  # noqa: F401  before _C, so that the backend is the activated one

from torchdevice import _C

pytest_plugins = ["pytester"]

TESTS = """
import torch

def race():
    x = torch.ones(4, device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        x.add_(1)
    x.sum()
    torch.cuda.synchronize()

def test_is_right():
    assert torch.ones(4, device="cuda").sum() == 4

def test_races():
    race()

def test_races_again():
    race()

def test_reads_what_nobody_wrote():
    torch.empty(4, device="cuda").sum()
"""


follows_blocks = pytest.mark.skipif(_C.native_backend_name() == "mps", reason="MPS has an allocator of its own")


@follows_blocks
@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one process", "xdist"])
def test_each_test_is_told(pytester: pytest.Pytester, workers: list[str]) -> None:
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--torchdevice-check", *workers, timeout=300)
    result.assert_outcomes(passed=4, errors=3)
    result.stdout.fnmatch_lines(
        ["*1 finding (--torchdevice-check)", "races: aten::sum reads self on the default stream of cuda:0 while *"]
    )
    assert "torchdevice check:" not in result.stderr.str()


@follows_blocks
def test_some_of_the_checkers(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "--torchdevice-check-only", "uninitialized", timeout=300
    )
    result.assert_outcomes(passed=4, errors=1)


def test_a_checker_that_does_not_exist(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("--torchdevice-check-only", "tardy", timeout=300)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: --torchdevice: torchdevice is not active: TORCHDEVICE_CHECK must be all, or some of "
            "races,lifetime,sync,uninitialized,graph,late,asserts, but 'tardy' is none of them"
        ]
    )
