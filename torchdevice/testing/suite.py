"""Another project's tests on cuda, and those that fail there once more on the CPU, without torchdevice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torchdevice

PLUGIN = "torchdevice.testing.outcomes"
#: pytest's exit codes after which the outcomes are not those of the tests: an internal error, a wrong command.
BROKEN = (3, 4)


class SuiteError(RuntimeError):
    """pytest could not run the tests; the message has the end of what it said."""


class Outcome(NamedTuple):
    """What a test did: "passed", "skipped", "failed" or, if it was not to run, "collected"."""

    status: str
    message: str = ""

    def headline(self) -> str:
        """The message's first line, if it is not too long."""
        return self.message.strip().partition("\n")[0][:200]


Outcomes = dict[str, Outcome]


@dataclass(frozen=True)
class Suite:
    """How a project's tests run on one device, each time in a fresh process."""

    folder: Path  #: pytest runs here, and node ids begin here
    options: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    search: Sequence[Path] = ()  #: where modules are looked for besides the usual places
    verbose: bool = False  #: pytest's own report goes to stderr

    def run(self, arguments: Sequence[str]) -> Outcomes:
        """What the tests did, by node id; a file that cannot be imported has failed by its own name.

        Raises:
            SuiteError: pytest told nothing, or was called with what is no test.
        """
        with tempfile.TemporaryDirectory() as scratch:
            written, listing = Path(scratch, "outcomes.json"), Path(scratch, "arguments.txt")
            own = ["-p", "no:cacheprovider", "-p", PLUGIN, f"--outcomes={written}", "-q"]
            # A file: thousands of names are more than a command line takes.
            listing.write_text("\n".join(arguments))
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *own, *self.options, f"@{listing}"],
                cwd=self.folder,
                env=self._environment(),
                capture_output=True,
                text=True,
                check=False,
            )
            if self.verbose:
                print(done.stdout, file=sys.stderr)
            if done.returncode in BROKEN or not written.exists():
                said = f"{done.stdout}{done.stderr}"[-4000:]
                raise SuiteError(f"{self.folder}: pytest ended with {done.returncode}\n{said}")
            return {name: Outcome(*outcome) for name, outcome in json.loads(written.read_text()).items()}

    def collect(self, arguments: Sequence[str]) -> Outcomes:
        """The tests that there are, "collected"; a file that cannot be imported, "failed"."""
        return self.run(["--collect-only", *arguments])

    def _environment(self) -> dict[str, str]:
        ours = Path(torchdevice.__file__).parents[1]
        search = [*map(str, (*self.search, ours)), os.environ.get("PYTHONPATH", "")]
        return {**os.environ, **self.environment, "PYTHONPATH": os.pathsep.join(filter(None, search))}


@dataclass(frozen=True)
class Comparison:
    """What the tests did on cuda, and which of the failures are cuda's own."""

    outcomes: Outcomes
    on_both: Outcomes  #: fail on the CPU too
    on_cuda_alone: Outcomes


def compare(
    cuda: Suite, cpu: Suite, tests: Sequence[str], *, choice: Sequence[str] = (), twin: Callable[[str], str] = str
) -> Comparison:
    """Run tests on cuda, with pytest's options `choice`, and the failures' twins on the CPU.

    `twin` gives the node id that a test has on the CPU. A failure without a twin is cuda's own.
    """
    outcomes = cuda.run([*choice, *tests])
    failed = {name: outcome for name, outcome in outcomes.items() if outcome.status == "failed"}
    on_cpu = _failing(cpu, tests, {twin(name) for name in failed}) if failed else set()
    on_both = {name: outcome for name, outcome in failed.items() if twin(name) in on_cpu}
    return Comparison(outcomes, on_both, {name: failed[name] for name in failed if name not in on_both})


def _failing(suite: Suite, tests: Sequence[str], names: set[str]) -> set[str]:
    """Which of the names fail."""
    found = suite.collect(tests)
    chosen = [name for name, outcome in found.items() if name in names and outcome.status == "collected"]
    if chosen:
        found |= suite.run(chosen)
    return {name for name, outcome in found.items() if outcome.status == "failed"}
