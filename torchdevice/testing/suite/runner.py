"""Runs the units of a plan, some at a time: one that crashes, hangs or eats memory costs the test that did."""

from __future__ import annotations

import json
import queue
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torchdevice.testing.suite import process
from torchdevice.testing.suite.journal import Journal, Results, add, read, take
from torchdevice.testing.suite.plan import Plan, Unit

#: Of what a process said at its end.
_LINES = 30


@dataclass
class State:
    """How far a run is, for those who wait."""

    total: int = 0
    done: int = 0
    #: Tests by device and status.
    tests: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Seconds that units of this run took, and how many.
    seconds: float = 0.0
    units: int = 0
    jobs: int = 1

    def left(self) -> float | None:
        """Seconds, as far as can be told."""
        return self.seconds / self.units * (self.total - self.done) / self.jobs if self.units else None


#: Told when a unit is done.
Progress = Callable[[Unit, Journal, State], None]


class Runner:
    """One run; `state` is looked at from other threads."""

    def __init__(self, plan: Plan, progress: Progress) -> None:
        self._plan, self._progress = plan, progress
        self._todo: queue.Queue[Unit] = queue.Queue()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._errors: list[BaseException] = []
        self.state = State(jobs=plan.limits.jobs)

    def run(self) -> None:
        """To the end, or until it is interrupted; what was done stays in the journals."""
        both = self._plan.profile.reference == "all"
        for file in self._plan.files:
            for device in ("cuda", "cpu") if both else ("cuda",):
                self._todo.put(Unit(file, device))
        self.state.total = len(self._plan.files) * 2
        threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(self._plan.limits.jobs)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
        except BaseException:
            self._stopped.set()
            for thread in threads:
                thread.join(10)
            raise
        if self._errors:
            raise self._errors[0]

    def _serve(self) -> None:
        try:
            while not self._stopped.is_set():
                try:
                    unit = self._todo.get_nowait()
                except queue.Empty:
                    return
                self._take(unit)
                if self._plan.profile.reference == "failures" and unit.device == "cuda":
                    self._take(Unit(unit.file, "cpu"))
        except BaseException as error:
            self._errors.append(error)
            self._stopped.set()

    def _take(self, unit: Unit) -> None:
        path = self._plan.journal(unit)
        journal = read(path)
        with self._lock:
            self.state.tests.update((unit.device, one.status) for one in journal.results.values())
        begun = time.monotonic()
        is_old = journal.done is not None
        if not is_old:
            journal = self._run(unit, journal)
        if self._stopped.is_set():
            return
        with self._lock:
            self.state.done += 1
            if not is_old:
                self.state.units += 1
                self.state.seconds += time.monotonic() - begun
            self._progress(unit, journal, self.state)

    def _run(self, unit: Unit, journal: Journal) -> Journal:
        plan, path = self._plan, self._plan.journal(unit)
        only = self._failed_on_cuda(unit)
        begun, peak, processes = time.monotonic(), 0, 0
        deadline = begun + plan.limits.file
        with tempfile.TemporaryDirectory(prefix="torchdevice-suite-") as scratch:
            chosen = None
            if only is not None:
                chosen = Path(scratch, "only.json")
                chosen.write_text(json.dumps(only), encoding="utf-8")
            while only != [] and not self._stopped.is_set():
                seen = len(journal.results)
                watch = _Watch(path, plan.limits.test, deadline, lambda status: self._count(unit, status))
                ended = process.run(
                    plan.command(unit, chosen),
                    plan.folder,
                    plan.environment(unit.device),
                    plan.log(unit),
                    plan.limits.memory,
                    watch.is_late,
                    self._stopped.is_set,
                )
                peak, processes = max(peak, ended.peak), processes + 1
                if ended.how == "stopped":
                    return journal
                watch.read()
                journal = read(path)
                is_over = time.monotonic() >= deadline
                if not self._blame(unit, journal, ended, is_over):
                    break
                journal = read(path)
                if is_over or len(journal.results) == seen:
                    break
            journal = read(path)
        if self._stopped.is_set():
            return journal
        for test in journal.collected or []:
            if test not in journal.results:
                add(
                    path,
                    {"event": "end", "test": test, "status": "not run", "message": self._no_time(), "seconds": 0.0},
                )
        done = {"seconds": round(time.monotonic() - begun, 1), "peak": peak, "processes": processes}
        add(path, {"event": "done", **done})
        return read(path)

    def _failed_on_cuda(self, unit: Unit) -> list[str] | None:
        """What is to run on the CPU; None is all."""
        if unit.device == "cuda" or self._plan.profile.reference == "all":
            return None
        failed = failing(read(self._plan.journal(Unit(unit.file, "cuda"))).results)
        return sorted({self._plan.profile.twin(test) for test in failed})

    def _blame(self, unit: Unit, journal: Journal, ended: process.Ended, is_over: bool) -> bool:
        """Write down which test ended the process; whether others are left."""
        if ended.how == "exit" and journal.finished and ended.status in (0, 1, 2, 5):
            return False  # pytest's own: all passed, some failed, errors while collecting, no tests
        status = ended.how if ended.how != "exit" else "crashed"
        said = _tail(self._plan.log(unit))
        message = f"{ended}\n{said}"
        test, goes_on = unit.file, False
        if journal.running is not None:
            test, goes_on = journal.running, True
            if is_over:
                status, message = "not run", self._no_time()
            elif status == "timed out":
                message = f"took longer than the {self._plan.limits.test:.0f} seconds of a test\n{said}"
            elif status == "out of memory":
                message = f"took more than the {self._plan.limits.memory / 2**30:.1f} GiB of a process\n{said}"
        elif journal.finished:
            message = f"after its tests: {message}"
        elif journal.results:
            message, goes_on = f"between its tests: {message}", True
        elif ended.how == "exit" and ended.status > 0:
            status = "failed"
        self._count(unit, status)
        entry = {"event": "end", "test": test, "status": status, "message": message, "seconds": 0.0}
        add(self._plan.journal(unit), entry)
        return goes_on

    def _no_time(self) -> str:
        return f"the {self._plan.limits.file:.0f} seconds of its file were over"

    def _count(self, unit: Unit, status: str) -> None:
        with self._lock:
            self.state.tests[unit.device, status] += 1


def failing(results: Results) -> list[str]:
    """The tests that fail, in whatever way."""
    return [test for test, result in results.items() if result.fails]


class _Watch:
    """Reads a journal as it is written: when there was news last, and whether that is too long ago."""

    def __init__(self, path: Path, patience: float, deadline: float, count: Callable[[str], None]) -> None:
        self._path, self._patience, self._deadline, self._count = path, patience, deadline, count
        self._offset = path.stat().st_size if path.exists() else 0
        self._news = time.monotonic()

    def is_late(self) -> bool:
        self.read()
        now = time.monotonic()
        return now > self._deadline or now - self._news > self._patience

    def read(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        if not whole:
            return
        self._offset += len(whole)
        self._news = time.monotonic()
        fresh = Journal()
        take(fresh, whole.splitlines())
        for result in fresh.results.values():
            self._count(result.status)


def _tail(log: Path) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16_384))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return "\n".join(lines[-_LINES:])
