"""What the pytest plug-in sees of tests: what fell back to the CPU in each, and what memory it left allocated."""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

#: Calls of each operator that ran on the CPU in place of the native backend.
Fallbacks = Mapping[str, int]


class Watch:
    """In each process that runs tests: puts what it sees onto a test's last report, as `torchdevice`."""

    def __init__(self, config: pytest.Config, results: Results | None) -> None:
        self._looks_for_leaks: bool = config.option.torchdevice_leaks
        self._results = results  #: None in a worker, whose controller has them
        self._seen: Counter[str] = Counter()
        self.outside: Counter[str] = Counter()  #: calls outside of tests: while modules are imported
        self._before: list[int] = []
        self._passed = True
        self._kept: dict[pytest.FixtureDef[Any], list[int]] = {}  #: by each fixture that lives longer than a test
        self._nested: list[list[int]] = []  #: by those that another one asked for while it was made
        self._left: dict[str, int] = {}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        self.outside.update(self._take())
        self._passed, self._left = True, {}
        self._before = _allocated() if self._looks_for_leaks else []
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        """What lives longer than the test may keep memory for its next tests."""
        if not self._before or fixturedef.scope == "function":
            return (yield)
        before = _allocated()
        self._nested.append([0] * len(before))
        try:
            return (yield)
        finally:
            # Those that it asked for while it was made have their own.
            total = _minus(_allocated(), before)
            own = _minus(total, self._nested.pop())
            self._kept[fixturedef] = own
            self._before = _plus(self._before, own)
            if self._nested:
                self._nested[-1] = _plus(self._nested[-1], total)

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        kept = self._kept.pop(fixturedef, None)
        if kept is not None and self._before:
            self._before = _minus(self._before, kept)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        result = yield
        if self._looks_for_leaks and self._passed:  # the traceback of a failure keeps what it has seen
            _forget(item)
            left = _minus(_allocated(), self._before)
            self._left = {f"cuda:{index}": size for index, size in enumerate(left) if size > 0}
            if self._left:
                sizes = ", ".join(f"{size:,} bytes on {device}" for device, size in self._left.items())
                pytest.fail(f"the test left memory allocated: {sizes} (--torchdevice-leaks)", pytrace=False)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        self._passed = self._passed and call.excinfo is None
        if call.when == "teardown" and not hasattr(report, "torchdevice"):  # it may be of another process
            # An attribute, as these travel from xdist's workers.
            report.torchdevice = {"fallbacks": self._take(), "left_bytes": self._left}  # type: ignore[attr-defined]
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.outside.update(self._take())
        if self._results is not None:
            self._results.add(OUTSIDE, self.outside)
        elif hasattr(session.config, "workeroutput"):
            session.config.workeroutput["torchdevice"] = dict(self.outside)

    def _take(self) -> dict[str, int]:
        """What fell back since this was asked last."""
        from torchdevice import _C

        if not _C.has_fallback():
            return {}
        calls = Counter({name: cpu[0] for name, _, cpu, _ in _C.operator_tallies() if cpu[0]})
        new, self._seen = calls - self._seen, calls
        return dict(new)


def _allocated() -> list[int]:
    """Bytes of each device. It does not initialise CUDA."""
    import torch

    return [torch.cuda.memory_allocated(index) for index in range(torch.cuda.device_count())]


def _plus(one: list[int], other: list[int]) -> list[int]:
    return [a + b for a, b in zip(one, other, strict=True)]


def _minus(one: list[int], other: list[int]) -> list[int]:
    return [a - b for a, b in zip(one, other, strict=True)]


def _forget(item: pytest.Item) -> None:
    """What pytest itself still has of a test whose teardown is over: values of fixtures, and attributes of `self`."""
    getattr(item, "funcargs", {}).clear()
    instance = getattr(item, "instance", None)
    if hasattr(instance, "__dict__"):
        vars(instance).clear()
    gc.collect()


OUTSIDE = "what is outside of tests"


class Results:
    """Where all reports arrive: adds them up, holds the limit and writes the file."""

    def __init__(self, config: pytest.Config) -> None:
        self._limit: int | None = config.option.torchdevice_max_fallbacks
        named = config.option.torchdevice_report
        self._file: Path | None = None if named is None else config.invocation_params.dir / named
        self._calls: Counter[str] = Counter()
        self._outside: Counter[str] = Counter()
        self._tests: dict[str, dict[str, Any]] = {}
        self._over: str | None = None
        self._lines: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        nodeid = str(report.nodeid)
        test = self._tests.setdefault(nodeid, {"outcome": "passed", "seconds": 0.0, "fallbacks": {}, "left_bytes": {}})
        test["seconds"] += report.duration
        if report.outcome != "passed" and test["outcome"] != "failed":
            test["outcome"] = report.outcome
        seen = getattr(report, "torchdevice", None)
        if seen is not None:
            test["fallbacks"] = dict(Counter(test["fallbacks"]) + Counter(seen["fallbacks"]))
            test["left_bytes"] = seen["left_bytes"]
            self.add(nodeid, seen["fallbacks"])

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.add(OUTSIDE, getattr(node, "workeroutput", {}).get("torchdevice", {}))

    def add(self, place: str, fallbacks: Fallbacks) -> None:
        """Calls that fell back in a test, or outside of tests."""
        self._calls.update(fallbacks)
        if place == OUTSIDE:
            self._outside.update(fallbacks)
        if self._limit is not None and self._over is None and self._calls.total() > self._limit:
            self._over = f"{place} ({_listed(fallbacks)})"

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._over is not None:
            self._lines.append(
                f"{self._calls.total()} calls fell back to the CPU, and --torchdevice-max-fallbacks allows "
                f"{self._limit}; the limit was passed by {self._over}"
            )
        if self._file is not None:
            try:
                self._file.write_text(json.dumps(self._data(), indent=2) + "\n")
            except OSError as error:
                self._lines.append(f"--torchdevice-report could not be written: {error}")
        if self._lines and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._lines:
            terminalreporter.section("torchdevice", red=True)
        for line in self._lines:
            terminalreporter.line(line)

    def _data(self) -> dict[str, Any]:
        import torch

        from torchdevice import _C, __version__, settings

        return {
            "torchdevice": __version__,
            "torch": torch.__version__,
            "backend": _C.native_backend_name(),
            "devices": torch.cuda.device_count(),
            "settings": {name: settings.read(name) for name in settings.present() if name in settings.SETTINGS},
            "fallbacks": self._calls.total(),
            "max_fallbacks": self._limit,
            "over_the_limit": self._over,
            "operators": dict(self._calls.most_common()),
            "outside_of_tests": dict(self._outside),
            "tests": self._tests,
        }


def _listed(fallbacks: Fallbacks) -> str:
    return ", ".join(f"{calls} of {name}" for name, calls in Counter(fallbacks).most_common())
