"""Tests marked with devices that this process does not have: each runs in a process of its own, with pytest as here.

`python -m torchdevice.testing.pytest_alone FOLDER` is that process: it reads a task from there and leaves its reports.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from torchdevice.testing import pytest_settings
from torchdevice.testing.pytest_watch import Watch

#: The reports of the other process, by phase.
_REPORTS = pytest.StashKey[dict[str, pytest.TestReport]]()
_TASK, _ANSWER = "task", "answer"
#: Conditions that the other process looks at: here they would be about other devices.
_CONDITIONS = ("skip", "skipif", "xfail")
#: Options about the choice of tests, the run as a whole, or files that only one process may write.
_OF_THE_RUN: dict[str, Any] = {
    "collectonly": False,
    "deselect": None,
    "dist": "no",
    "failedfirst": False,
    "keyword": "",
    "lf": False,
    "log_file": None,
    "looponfail": False,
    "markexpr": "",
    "maxfail": 0,
    "maxprocesses": None,
    "newfirst": False,
    "numprocesses": None,
    "stepwise": False,
    "torchdevice": True,
    "trace": False,
    "tx": [],
    "usepdb": False,
}
#: They write to where the run writes, or wait for a run of their own.
_PLUGINS = ("no:terminal", "no:pytest_cov")


class Alone:
    """Puts another process in the place of such a test; its reports are the test's."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            marks = [*item.iter_markers("torchdevice")]
            values = {name: value for mark in reversed(marks) for name, value in mark.kwargs.items()}
            try:
                if any(mark.args for mark in marks):
                    raise ValueError(f"takes {', '.join(pytest_settings.VARIABLES)} by name")
                wanted = pytest_settings.variables(values)
            except ValueError as error:
                self._replace(
                    item, lambda error=error: pytest.fail(f"@pytest.mark.torchdevice: {error}", pytrace=False)
                )
                continue
            if pytest_settings.differ(wanted):
                self._replace(item, lambda item=item, values=values: self._run(item, values))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        theirs = item.stash.get(_REPORTS, {})
        return theirs.get(call.when, report) if call.excinfo is None else report

    def _replace(self, item: pytest.Item, run: Any) -> None:
        """Have `run` called in place of the test and its fixtures."""
        marked = item.iter_markers_with_node

        def iter_markers_with_node(name: str | None = None) -> Iterator[tuple[Any, pytest.Mark]]:
            return (pair for pair in marked(name) if pair[1].name not in _CONDITIONS)

        changes = {
            "setup": run,
            "runtest": _nothing,
            "teardown": _nothing,
            "iter_markers_with_node": iter_markers_with_node,
        }
        vars(item).update(changes)

    def _run(self, item: pytest.Item, values: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory(prefix="torchdevice-") as folder:
            (Path(folder) / _TASK).write_bytes(pickle.dumps(_task(item, values)))
            shown = item.config.option.capture == "no"
            process = subprocess.run(
                [sys.executable, "-m", __name__, folder],
                cwd=item.config.invocation_params.dir,
                stdout=None if shown else subprocess.PIPE,
                stderr=None if shown else subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            )
            answer = Path(folder) / _ANSWER
            data, outside = pickle.loads(answer.read_bytes()) if answer.exists() else ([], {})
        self._watch.outside.update(outside)
        config = item.config
        reports = [config.hook.pytest_report_from_serializable(config=config, data=one) for one in data]
        by_phase: dict[str, pytest.TestReport] = {
            report.when: report for report in reports if isinstance(report, pytest.TestReport)
        }
        if "teardown" not in by_phase:
            said = "".join(f"\n{report.longrepr}" for report in reports if report.failed)
            pytest.fail(
                f"the process of this test ended with {process.returncode}{said}\n{process.stdout or ''}", pytrace=False
            )
        item.stash[_REPORTS] = by_phase


def _nothing() -> None:
    """In place of what the other process does."""


def _task(item: pytest.Item, values: dict[str, Any]) -> dict[str, Any]:
    config = item.config
    options = {name: value for name, value in vars(config.option).items() if _can_travel(value)}
    options.pop("file_or_dir", None)
    options.update(_OF_THE_RUN)
    options.update({f"torchdevice_{name}": value for name, value in values.items()})
    options["rootdir"] = str(config.rootpath)
    options["inifilename"] = str(config.inipath or os.devnull)
    if options.get("basetemp"):
        options["basetemp"] = f"{options['basetemp']}-alone"  # the run's is emptied by who takes it
    worker = {"workerid": "master", "workercount": 1, "mainargv": sys.argv, "testrunuid": "torchdevice"}
    return {
        "path": sys.path,
        "options": options,
        "file": str(item.path),
        "nodeid": str(item.nodeid),
        "workerinput": getattr(config, "workerinput", worker),
    }


def _can_travel(value: object) -> bool:
    try:
        pickle.dumps(value)
    except Exception:
        return False
    return type(value).__module__ in ("builtins", "pathlib")


class _OneTest:
    """In the process of its own: chooses the test, and keeps its reports."""

    def __init__(self, config: pytest.Config, nodeid: str) -> None:
        self._config = config
        self._nodeid = nodeid
        self.reports: list[dict[str, Any]] = []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if str(item.nodeid) == self._nodeid]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._keep(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._keep(report)

    def _keep(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        to_serializable = self._config.hook.pytest_report_to_serializable
        self.reports.append(to_serializable(config=self._config, report=report))


def main(folder: Path) -> int:
    """Run the test of a task as one of xdist's workers would: other plug-ins then leave the run's files alone."""
    task = pickle.loads((folder / _TASK).read_bytes())
    sys.path[:] = task["path"]
    plugins = [argument for name in _PLUGINS for argument in ("-p", name)]
    try:
        config: Any = pytest.Config.fromdictargs(task["options"], [*plugins, task["file"]])
    except pytest.UsageError as error:
        print(error)
        return pytest.ExitCode.USAGE_ERROR
    config.workerinput, config.workeroutput = task["workerinput"], {}
    test = _OneTest(config, task["nodeid"])
    config.pluginmanager.register(test)
    try:
        status = config.hook.pytest_cmdline_main(config=config)
    finally:
        config._ensure_unconfigure()
    (folder / _ANSWER).write_bytes(pickle.dumps((test.reports, config.workeroutput.get("torchdevice", {}))))
    return int(status)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
