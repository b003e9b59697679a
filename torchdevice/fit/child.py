"""The process in which the program runs: `python -m torchdevice.fit.child RECORD PROGRAM …`."""

from __future__ import annotations

import resource
import sys
import time
import traceback
from pathlib import Path

from torchdevice import progress
from torchdevice.fit.record import Record
from torchdevice.program import Program


def main(target: Path, program: Program) -> int:
    """Run the program, leave the record, return the exit status."""
    progress.import_torch()
    import torch

    from torchdevice.fit import kinds, observed

    record = Record()
    marks = kinds.Marks()
    marks.install()
    torch.cuda.memory._record_memory_history(context="alloc", stacks="python")
    start = time.perf_counter()
    try:
        record.status = program.run()
        record.ending = "ended" if record.status == 0 else "failed"
    except KeyboardInterrupt:
        record.status, record.ending = 130, "interrupted"
    except BaseException as error:
        traceback.print_exc()
        record.status, record.error = 1, f"{type(error).__name__}: {error}"
        record.ending = "out of memory" if isinstance(error, torch.OutOfMemoryError) else "failed"
    record.seconds = time.perf_counter() - start
    marks.remove()
    record.resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    observed.fill(record, marks)
    record.write(target)
    return record.status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Program.of(sys.argv[2:])))
