"""What a program does on "cuda", over time: a sampler of operators, the allocator's history, and the migration log.

`torchdevice run --html` starts it before the program. It begins when torchdevice is active, as importing torch is left
to the program. All that is kept is bounded, however long the program runs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from torchdevice import activation, settings

#: Seconds between two looks, at first; with twice as many samples as these, every second one is dropped.
INTERVAL, SAMPLES = 0.02, 400
#: Of the allocator's history and of the log.
EVENTS, LINES = 200_000, 1_000


@dataclass(frozen=True)
class Sample:
    """Nanoseconds of each operator until a moment, natively and on the CPU."""

    seconds: float  #: since the epoch
    spent: dict[str, int]


@dataclass(frozen=True)
class Line:
    """An entry of the migration log."""

    level: str
    place: str
    called: str
    message: str


@dataclass
class Recording:
    """What was seen."""

    begun: float = 0.0
    ended: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    #: torch.cuda.memory._snapshot(), if torch was imported, torchdevice is active, and the allocator has a history.
    memory: dict[str, Any] | None = None
    log: list[Line] = field(default_factory=list)
    #: Entries of the log beyond LINES.
    dropped: int = 0


class Recorder:
    """One recording of this process."""

    def __init__(self) -> None:
        self._recording = Recording(begun=time.time())
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._has_history = False
        self._handler = _Keeper(self._recording)

    def start(self) -> None:
        """To be called before torch is imported: it sets what torchdevice reads then."""
        os.environ["TORCHDEVICE_REPORT"] = "1"
        if settings.read("TORCHDEVICE_LOG_LEVEL") is None:
            os.environ["TORCHDEVICE_LOG_LEVEL"] = "INFO"
            if settings.read("TORCHDEVICE_LOG") is None:
                os.environ["TORCHDEVICE_LOG"] = os.devnull  # it is on the page
        logging.getLogger("torchdevice").addHandler(self._handler)
        activation.when_active(self._begin)

    def _begin(self) -> None:
        import torch

        from torchdevice import _C

        # PyTorch's MPS allocator has no history, and the page then no curve.
        with contextlib.suppress(NotImplementedError):
            torch.cuda.memory._record_memory_history("all", context="alloc", stacks="python", max_entries=EVENTS)
            self._has_history = True
        self._thread = threading.Thread(target=self._look, args=(_C,), name="torchdevice-recorder", daemon=True)
        self._thread.start()

    def _look(self, extension: Any) -> None:
        samples, interval = self._recording.samples, INTERVAL
        while not self._ended.wait(interval):
            samples.append(_sample(extension))
            if len(samples) >= 2 * SAMPLES:
                del samples[::2]
                interval *= 2

    def stop(self) -> Recording:
        """What was recorded."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            import torch

            from torchdevice import _C

            self._recording.samples.append(_sample(_C))
            if self._has_history:
                self._recording.memory = torch.cuda.memory._snapshot()
                torch.cuda.memory._record_memory_history(None)
        logging.getLogger("torchdevice").removeHandler(self._handler)
        self._recording.ended = time.time()
        return self._recording


def _sample(extension: Any) -> Sample:
    tallies = extension.operator_tallies()
    return Sample(time.time(), {name: native[2] + cpu[2] for name, native, cpu, _ in tallies})


class _Keeper(logging.Handler):
    """Keeps the first entries; the others are counted."""

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self._recording = recording

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._recording.log) >= LINES:
            self._recording.dropped += 1
            return
        place = f"{record.pathname}:{record.lineno}"
        line = Line(record.levelname, place, getattr(record, "called", ""), record.getMessage()[:300])
        self._recording.log.append(line)


def shares(recording: Recording, columns: int, most: int) -> tuple[list[str], list[list[float]]]:
    """Operators by time, and of each the milliseconds in equal parts of the whole time; the last one is all others."""
    if not recording.samples:
        return [], []
    totals = Counter(recording.samples[-1].spent)
    names = [name for name, nanoseconds in totals.most_common(most) if nanoseconds]
    rows = [[0.0] * columns for _ in (*names, "others")]
    index = {name: number for number, name in enumerate(names)}
    length = max(recording.ended - recording.begun, 1e-6)
    before: dict[str, int] = {}
    since = recording.begun
    for sample in recording.samples:
        # What was spent between two looks is spread over the columns between them.
        first = int((since - recording.begun) / length * columns)
        last = int((sample.seconds - recording.begun) / length * columns)
        places = range(min(first, columns - 1), min(last, columns - 1) + 1)
        for name, nanoseconds in sample.spent.items():
            if spent := nanoseconds - before.get(name, 0):
                row = rows[index.get(name, len(names))]
                for place in places:
                    row[place] += spent / 1e6 / len(places)
        before, since = sample.spent, sample.seconds
    if not any(rows[-1]):
        return names, rows[:-1]
    return [*names, "others"], rows
