"""The process in which the program runs: `python -m torchdevice.fit.child RECORD CURVES PROGRAM …`."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import NoReturn

from torchdevice import progress
from torchdevice.fit.record import Record
from torchdevice.program import Program

#: Entries of the allocator's history that are kept, the last ones: a long program would fill the host's memory.
EVENTS = 300_000

#: The word that asks for memory over time.
CURVES = "curves"


class _Terminated(BaseException):
    """SIGTERM came, as of `timeout`."""


def main(target: Path, program: Program, *, curves: bool) -> int:
    """Run the program, leave the record, return the exit status; `curves`: the record has memory over time, too."""
    progress.import_torch()
    import torch

    from torchdevice import activation
    from torchdevice.fit import kinds, observed

    if not activation.status().active:
        raise SystemExit(f"torchdevice fit: {activation.NOT_ACTIVE}{activation.status().reason}")
    # Layers of an LSTM go cell by cell, as those of a GRU: what oneDNN keeps of a whole layer, torch does not know.
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    record = Record()
    marks = kinds.Marks()
    marks.install()
    groups = None
    if torch.distributed.is_available():
        from torchdevice.fit import ranks  # has classes of torch.distributed's

        groups = ranks.Ranks()
        groups.install()
    torch.cuda.memory._record_memory_history(context="alloc", stacks="python", max_entries=EVENTS)
    process = os.getpid()
    start = time.perf_counter()

    def leave() -> None:
        record.seconds = time.perf_counter() - start
        marks.remove()
        record.resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        observed.fill(record, marks, curves=curves)
        if groups is not None:
            groups.fill(record)
        record.write(target)

    def leave_at_once(status: int) -> NoReturn:
        """`os._exit` ends the program without an exception."""
        if os.getpid() == process:
            _end(record, status)
            leave()
        end_process(status)

    end_process, os._exit = os._exit, leave_at_once
    signal.signal(signal.SIGTERM, lambda *_: _terminate(process))
    try:
        _end(record, program.run())
    except KeyboardInterrupt:
        record.status, record.ending = 128 + signal.SIGINT, "interrupted"
    except _Terminated:
        record.status, record.ending = 128 + signal.SIGTERM, "interrupted"
    except BaseException as error:
        traceback.print_exc()
        record.status, record.error = 1, f"{type(error).__name__}: {error}"
        record.ending = "out of memory" if isinstance(error, torch.OutOfMemoryError) else "failed"
    os._exit = end_process
    if os.getpid() == process:  # what the program forked is no part of the report
        leave()
    return record.status


def _end(record: Record, status: int) -> None:
    record.status = status
    record.ending = "ended" if status == 0 else "failed"


def _terminate(process: int) -> None:
    if os.getpid() == process:
        raise _Terminated
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Program.of(sys.argv[3:]), curves=sys.argv[2] == CURVES))
