"""The campaign: workers for each kind of round until the time is over, a fresh one after each crash."""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from conformance.fuzz.worker import DEVICE_MEMORY

KINDS = ("calls", "programs", "graphs", "hostile")
#: A round takes well under a second.
HANG_SECONDS = 120
#: A worker's seeds begin at a multiple of this, so that no two workers share one.
STRIDE = 1_000_000
#: Then somebody has to look.
ENOUGH_FINDINGS = 20


@dataclass
class Tally:
    """What all workers did so far."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, kind: str, first: int, seed: int, what: str) -> None:
        text = f"{kind}, seed {seed}: {what}\n  again: --kind {kind} --seed {first} --rounds {seed - first + 1}"
        with self.lock:
            self.findings.append(text)
            print(f"finding {len(self.findings)}: {text}", flush=True)


def start(kind: str, first: int, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-X", "faulthandler", "-m", "conformance.fuzz.worker", kind, str(first), str(seconds)]
    environment = {**os.environ, "TORCHDEVICE_COUNT": "2", "TORCHDEVICE_MEMORY": DEVICE_MEMORY}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )


def watch(kind: str, first: int, seconds: float, rounds: int, tally: Tally) -> int:
    """Run one worker to its end; returns the seed after its last one."""
    worker = start(kind, first, seconds)
    assert worker.stdout is not None
    assert worker.stderr is not None
    lines: queue.Queue[str | None] = queue.Queue()
    errors: list[str] = []

    def read() -> None:
        assert worker.stdout is not None
        for line in worker.stdout:
            lines.put(line)
        lines.put(None)

    readers = [
        threading.Thread(target=read, daemon=True),
        threading.Thread(target=lambda: errors.extend(worker.stderr or ()), daemon=True),
    ]
    for reader in readers:
        reader.start()
    seed, done = first, 0
    try:
        while done < rounds and (line := lines.get(timeout=HANG_SECONDS)) is not None:
            said = json.loads(line)
            if "seed" in said:
                seed = said["seed"]
                continue
            done += 1
            if "finding" in said:
                tally.find(kind, first, seed, said["finding"])
            with tally.lock:
                tally.counts.update(said.get("counts", {}))
        if done == rounds:
            worker.terminate()
        elif worker.wait(HANG_SECONDS) != 0:
            readers[1].join(HANG_SECONDS)
            tally.find(kind, first, seed, f"{ending(worker.returncode)}\n{''.join(errors[-40:])}")
    except (queue.Empty, subprocess.TimeoutExpired):
        worker.send_signal(signal.SIGABRT)  # faulthandler prints where every thread is
        readers[1].join(HANG_SECONDS)
        tally.find(kind, first, seed, f"no end after {HANG_SECONDS} seconds\n{''.join(errors[-40:])}")
    finally:
        worker.kill()
        worker.wait()
    return seed + 1


def ending(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def campaign(kinds: list[str], seed: int, seconds: float, jobs: int) -> Tally:
    """`jobs` workers at a time, the kinds in turn."""
    tally = Tally()
    end = time.monotonic() + seconds
    turns = iter(range(sys.maxsize))
    share = max(10.0, seconds / max(1, len(kinds)) / 2)

    def work() -> None:
        while (left := end - time.monotonic()) > 0 and len(tally.findings) < ENOUGH_FINDINGS:
            with tally.lock:
                turn = next(turns)
            stop, first = time.monotonic() + min(left, share), seed + turn * STRIDE
            while (left := stop - time.monotonic()) > 0 and len(tally.findings) < ENOUGH_FINDINGS:
                first = watch(kinds[turn % len(kinds)], first, left, sys.maxsize, tally)

    threads = [threading.Thread(target=work) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long (default: 10)")
    parser.add_argument("--seed", type=int, default=None, help="of the first round (default: any)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="workers at a time")
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS), help="kinds of rounds")
    parser.add_argument("--rounds", type=int, help="run so many rounds of one kind from the seed on, and end")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(STRIDE) * STRIDE if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    if options.rounds is not None:
        tally = Tally()
        watch(options.kind[0], seed, options.minutes * 60, options.rounds, tally)
    else:
        tally = campaign(options.kind, seed, options.minutes * 60, options.jobs)
    figures = ", ".join(f"{count:,} {name}" for name, count in sorted(tally.counts.items()))
    print(f"{figures}; findings: {len(tally.findings)}")
    return 1 if tally.findings else 0


if __name__ == "__main__":
    sys.exit(main())
