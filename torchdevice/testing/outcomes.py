"""A pytest plug-in: `-p torchdevice.testing.outcomes --outcomes FILE` writes what each test did, as JSON by node id.

JUnit's XML would not do: it has a test's class and the file where its code stands, and these do not give the node id of
a test that a class inherits from another file.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outcomes", type=Path, required=True, help="the file to write")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # pytest-xdist's workers report to their controller
        config.pluginmanager.register(_Outcomes(config.getoption("--outcomes")))


class _Outcomes:
    """Outcome and message by node id; what is only collected is "collected"."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._outcomes: dict[str, tuple[str, str]] = {}

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        if item.config.option.collectonly:
            self._outcomes[item.nodeid] = ("collected", "")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if not report.passed:
            self._outcomes[report.nodeid] = (report.outcome, _message(report))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed or report.skipped or report.when == "call":
            before, _ = self._outcomes.get(report.nodeid, ("passed", ""))
            if before != "failed":  # setup, call and teardown report one by one
                self._outcomes[report.nodeid] = (report.outcome, _message(report))

    def pytest_sessionfinish(self) -> None:
        self._path.write_text(json.dumps(self._outcomes))


def _message(report: pytest.CollectReport | pytest.TestReport) -> str:
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        return f"{crash.message}\n{report.longreprtext}" if crash else report.longreprtext
    if report.skipped:
        return getattr(report, "wasxfail", "") or report.longrepr[2].removeprefix("Skipped: ")  # type: ignore[index]
    return ""
