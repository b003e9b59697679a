"""What `--torchdevice-check` adds to the pytest plug-in: a test in which something is found fails."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from torchdevice.check import session
from torchdevice.check.findings import Finding, findings


class Check:
    """In each process that runs tests."""

    def __init__(self) -> None:
        session.leave_it_to_others()
        self._told: list[int] = []  #: how often each finding was seen when a test was last told of it

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, object, object]:
        """What was found between two tests, while fixtures were made, is told to the next one."""
        result = yield
        found = findings()
        before = self._told + [0] * (len(found) - len(self._told))
        self._told = [finding.count for finding in found]
        new = [finding for finding, count in zip(found, before, strict=True) if finding.count > count]
        if new:
            pytest.fail(_text(new), pytrace=False)
        return result


def _text(found: list[Finding]) -> str:
    number = "1 finding" if len(found) == 1 else f"{len(found)} findings"
    return "\n\n".join([f"{number} (--torchdevice-check)", *map(str, found)])
