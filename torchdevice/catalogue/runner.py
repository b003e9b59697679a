"""Observes names in processes of their own: one that crashes or hangs costs one name. A journal keeps what was seen."""

from __future__ import annotations

import json
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torchdevice.catalogue.observe import Outcome

#: Answers a line with an Outcome.
COMMAND = [sys.executable, "-m", "torchdevice.catalogue.worker"]
#: What one name may take, of the processor and in all: other programs may leave it little.
SECONDS, WAIT = 30, 300
#: A process ends after that many names: some leave memory, modes and hooks behind.
NAMES = 400

#: Told after each name: how many are done.
Progress = Callable[[int], None]


class Journal:
    """The outcomes of a run that is not finished, by name: a line each, of one torch and one native backend."""

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._key = path, key
        self.outcomes: dict[str, Outcome] = {}
        if path.exists():
            text = path.read_text(encoding="utf-8")
            if not text.endswith("\n"):  # the run was ended while it wrote
                text = text[: text.rfind("\n") + 1]
                path.write_text(text, encoding="utf-8")
            for line in text.splitlines():
                entry = json.loads(line)
                name = entry.pop("name")
                if entry.pop("key") == key:
                    self.outcomes[name] = Outcome(**entry)

    def add(self, name: str, outcome: Outcome) -> None:
        self.outcomes[name] = outcome
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": self._key, "name": name, **asdict(outcome)}) + "\n")

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def run(names: Iterable[str], journal: Journal, jobs: int, progress: Progress) -> dict[str, Outcome]:
    """Observe the names that the journal does not have; returns all of them."""
    todo: queue.Queue[str] = queue.Queue()
    wanted = list(names)
    for name in wanted:
        if name not in journal.outcomes:
            todo.put(name)
    lock = threading.Lock()

    def note(name: str, outcome: Outcome) -> None:
        with lock:
            journal.add(name, outcome)
            progress(sum(one in journal.outcomes for one in wanted))

    threads = [threading.Thread(target=_serve, args=(todo, note), daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {name: journal.outcomes[name] for name in wanted}


def _serve(todo: queue.Queue[str], note: Callable[[str, Outcome], None]) -> None:
    worker: _Worker | None = None
    while True:
        try:
            name = todo.get_nowait()
        except queue.Empty:
            break
        if worker is None or worker.served >= NAMES:
            if worker is not None:
                worker.end()
            worker = _Worker()
        outcome = worker.observe(name)
        note(name, outcome)
        if worker.is_gone:
            worker = None
    if worker is not None:
        worker.end()


class _Worker:
    """One process; of no more use after a name that ended it or took too long."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="torchdevice-catalogue-")  # examples write files
        self._process = subprocess.Popen(
            [*COMMAND, str(SECONDS)],
            cwd=self._folder.name,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1,
        )  # fmt: skip
        self.served = 0
        self.is_gone = False

    def observe(self, name: str) -> Outcome:
        self.served += 1
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{name}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return self._gone()
        ready, _, _ = select.select([self._process.stdout], [], [], WAIT)
        if not ready:
            self._process.kill()
            self._process.wait()
            self.is_gone = True
            return Outcome("not run", reason=f"it took longer than {WAIT} seconds")
        line = self._process.stdout.readline()
        return Outcome(**json.loads(line)) if line else self._gone()

    def _gone(self) -> Outcome:
        status = self._process.wait()
        self.is_gone = True
        if status == -signal.SIGPROF:
            return Outcome("not run", reason=f"it took longer than {SECONDS} seconds of the processor")
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return Outcome("not run", reason=f"the process that ran it ended with {how}")

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()


def parts_of(outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
    """Operators that ran as parts of what matched."""
    ran: dict[str, int] = {}
    fallen: set[str] = set()
    for outcome in outcomes.values():
        fallen.update(outcome.fallen)
        if outcome.value in ("match", "fallback"):
            for name in outcome.operators:
                ran[name] = ran.get(name, 0) + outcome.samples
    return {
        name: Outcome("fallback" if name in fallen else "match", "as a part of others", samples=samples)
        for name, samples in ran.items()
    }


def summary(statuses: Iterable[Any]) -> dict[str, int]:
    """How many there are of each value."""
    counts = dict.fromkeys(("match", "modified", "fallback", "unsupported", "not run"), 0)
    for status in statuses:
        counts[status.value] += 1
    return counts
