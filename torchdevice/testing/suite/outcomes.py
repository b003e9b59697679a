"""A pytest plug-in: `-p torchdevice.testing.suite.outcomes --outcomes FILE` adds a line of JSON for each test.

A test's line is written when it begins, and another when it has ended: whoever reads the file sees which one hangs or
ended the process. Tests that the file has an end of are not run again. JUnit's XML would not do: it is written at the
end, and does not give the node id of a test that a class inherits from another file.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from torchdevice.testing.suite.journal import read

#: Characters of a message that are kept: a suite may have thousands of failures.
_LONG = 8_000


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outcomes", type=Path, required=True, help="the file to add to")
    parser.addoption("--outcomes-only", type=Path, help="a file with the node ids that are to run, as a list of JSON")


def pytest_configure(config: pytest.Config) -> None:
    chosen = config.getoption("--outcomes-only")
    only = set(json.loads(chosen.read_text(encoding="utf-8"))) if chosen else None
    config.pluginmanager.register(_Outcomes(config.getoption("--outcomes"), only))


class _Outcomes:
    def __init__(self, path: Path, only: set[str] | None) -> None:
        self._path, self._only = path, only
        self._process = os.getpid()
        self._outcome: tuple[str, str, float] = ("passed", "", 0.0)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        done = read(self._path).results
        chosen = [item for item in items if self._only is None or item.nodeid in self._only]
        self._write({"event": "collected", "tests": [item.nodeid for item in chosen]})
        fresh = [item for item in chosen if item.nodeid not in done]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(fresh)])
        items[:] = fresh

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if not report.passed:
            self._finish(report.nodeid, report.outcome, _message(report), 0.0)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._outcome = ("passed", "", 0.0)
        self._write({"event": "begin", "test": nodeid})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        status, message, seconds = self._outcome
        # Setup, call and teardown report one by one.
        if status != "failed" and (report.failed or report.skipped):
            status, message = report.outcome, _message(report)
        self._outcome = (status, message, seconds + report.duration)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._finish(nodeid, *self._outcome)

    def pytest_sessionfinish(self) -> None:
        self._write({"event": "finished"})

    def _finish(self, test: str, status: str, message: str, seconds: float) -> None:
        message = (
            message if len(message) <= _LONG else f"{message[:_LONG]}\n… and {len(message) - _LONG} characters more"
        )
        self._write({"event": "end", "test": test, "status": status, "message": message, "seconds": round(seconds, 3)})

    def _write(self, entry: dict[str, Any]) -> None:
        if os.getpid() == self._process:  # a test may have forked
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")


def _message(report: pytest.CollectReport | pytest.TestReport) -> str:
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        said = [crash.message] if crash else re.findall(r"^E {3}(.*\S)", report.longreprtext, re.MULTILINE)[-1:]
        return "\n".join([*said, report.longreprtext])
    if report.skipped:
        return getattr(report, "wasxfail", "") or report.longrepr[2].removeprefix("Skipped: ")  # type: ignore[index]
    return ""
