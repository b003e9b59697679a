"""Fixtures of the tests of torchdevice/: pytest itself, run on tests that a test writes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

RunPytest = Callable[..., pytest.RunResult]


@pytest.fixture
def run_pytest(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> RunPytest:
    """`run_pytest(*arguments)`, in a process whose environment chooses no devices."""
    for name in ("TORCHDEVICE", "TORCHDEVICE_COUNT", "TORCHDEVICE_MEMORY", "TORCHDEVICE_PROFILE", "TORCHDEVICE_REPORT"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments, timeout=300)

    return run
