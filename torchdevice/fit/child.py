"""The process in which the program runs: `python -m torchdevice.fit.child RECORD [-m] PROGRAM [ARGUMENT …]`."""

from __future__ import annotations

import resource
import runpy
import sys
import time
import traceback
from pathlib import Path

from torchdevice.fit.record import Record


def main(target: Path, program: list[str], is_module: bool) -> int:
    """Run the program, leave the record, return the exit status."""
    import torch

    from torchdevice.fit import kinds, observed

    record = Record()
    marks = kinds.Marks()
    marks.install()
    torch.cuda.memory._record_memory_history(context="alloc", stacks="python")
    start = time.perf_counter()
    try:
        _execute(program, is_module)
    except SystemExit as error:
        record.status = error.code if isinstance(error.code, int) else int(error.code is not None)
        record.ending = "ended" if record.status == 0 else "failed"
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
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


def _execute(program: list[str], is_module: bool) -> None:
    sys.argv = program
    if is_module:
        sys.path[0] = str(Path.cwd())
        runpy.run_module(program[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(program[0]).resolve().parent)
        runpy.run_path(program[0], run_name="__main__")


if __name__ == "__main__":
    _arguments = sys.argv[2:]
    _is_module = _arguments[0] == "-m"
    sys.exit(main(Path(sys.argv[1]), _arguments[1:] if _is_module else _arguments, _is_module))
