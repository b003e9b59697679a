"""Hands jobs to worker processes; a crash or a timeout is a finding and the job goes on after it."""

from __future__ import annotations

import json
import os
import queue
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: Crashes after which a job is given up.
PATIENCE = 20

Job = dict[str, Any]
COMMAND = (sys.executable, "-m", "conformance.operators.worker")


class Worker:
    """One process; started again after it died."""

    def __init__(self, timeout: float, command: Sequence[str] = COMMAND) -> None:
        self.timeout = timeout
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._progress = tempfile.NamedTemporaryFile(prefix="conformance")  # noqa: SIM115 - lives as long as we do

    def run(self, job: Job) -> dict[str, Any]:
        """The job's result, with crashes among its findings."""
        crashes: list[dict[str, Any]] = []
        skip: list[list[Any]] = []
        while True:
            self._start()
            os.truncate(self._progress.name, 0)
            answer, how = self._ask({**job, "skip": skip})
            if answer is not None:
                answer["findings"] += crashes
                if crashes:
                    answer["counts"]["failed"] = answer["counts"].get("failed", 0) + len(crashes)
                return answer
            variant, sample, device = self._where()
            skip.append([variant, sample])
            gave_up = how.startswith("timeout") or len(skip) >= PATIENCE
            if device != "cpu" or gave_up:
                example = {"sample": sample, "expected": "", "got": f"{how}, on {device}"}
                check = "timeout" if how.startswith("timeout") else "crash"
                crashes.append({"variant": variant, "check": check, "count": 1, "calls": 1, "examples": [example]})
            if gave_up:
                return {
                    "op": job["op"], "family": job["family"], "dtype": job["dtype"], "samples": 0,
                    "counts": {"failed": len(crashes)}, "findings": crashes, "seconds": 0, "gave up": how,
                }  # fmt: skip

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> None:
        if self._process is not None:
            return
        read, write = os.pipe()
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - read after the process died
        self._process = subprocess.Popen(
            [*self._command, str(write), self._progress.name],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._errors, text=True,
            pass_fds=(write,), env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        os.close(write)
        self._results = os.fdopen(read)
        answer, how = self._read(300)
        if answer is None:
            raise RuntimeError(f"the worker did not start: {how}")

    def _ask(self, job: Job) -> tuple[dict[str, Any] | None, str]:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # read below tells how it died
        return self._read(self.timeout)

    def _read(self, timeout: float) -> tuple[dict[str, Any] | None, str]:
        assert self._process is not None
        ready, _, _ = select.select([self._results], [], [], timeout)
        if not ready:
            self.close()
            return None, f"timeout after {timeout:g} s"
        line = self._results.readline()
        if line:
            return json.loads(line), ""
        code = self._process.wait()
        self._errors.seek(0)
        tail = self._errors.read()[-400:]
        self._process = None
        return None, f"exit code {code}: {tail}"

    def _where(self) -> tuple[str, int, str]:
        text = Path(self._progress.name).read_text().split("\n")[0].split("\t")
        return (text[0], int(text[1]), text[2]) if len(text) == 3 else ("samples", -1, "cpu")


def run(jobs: Iterable[Job], workers: int, timeout: float) -> Iterator[dict[str, Any]]:
    """The results of all jobs, in the order in which they finish."""
    todo: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[dict[str, Any] | BaseException] = queue.SimpleQueue()
    count = 0
    for job in jobs:
        todo.put(job)
        count += 1
    for _ in range(workers):
        todo.put(None)

    def serve() -> None:
        worker = Worker(timeout)
        try:
            while (job := todo.get()) is not None:
                done.put(worker.run(job))
        except BaseException as error:
            done.put(error)
        finally:
            worker.close()

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for _ in range(count):
        result = done.get()
        if isinstance(result, BaseException):
            raise result
        yield result
