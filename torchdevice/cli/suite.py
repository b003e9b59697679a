"""`torchdevice suite`: another project's own tests on cuda and on the CPU."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from torchdevice import progress
from torchdevice.cli.values import at_least_one

if TYPE_CHECKING:
    from torchdevice.testing.suite.journal import Journal
    from torchdevice.testing.suite.plan import Plan, Unit
    from torchdevice.testing.suite.runner import Runner, State
    from torchdevice.testing.suite.verdicts import Comparison

#: Exit statuses; argparse has the last one too.
CLEAN, DIFFERS, USAGE = 0, 1, 2
#: As a shell says that a program was interrupted.
INTERRUPTED = 130

EPILOG = """\
examples:
  torchdevice suite accelerate-1.15.0 test_hooks.py
  torchdevice suite peft-0.21.2 test_custom_models.py -k disable_adapters
  torchdevice suite ~/pytorch test_nn.py nn/test_convolution.py
  torchdevice suite ~/my-project --profile my-project.toml --jobs 4
  torchdevice suite --profiles

A run that was ended goes on where it was, by the same command.

exit status: 0 nothing fails on cuda alone, 1 something does, 2 nothing to run, 130 interrupted
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("project", nargs="?", type=Path, metavar="PROJECT", help="a checkout, or an unpacked archive")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="files or folders of tests in it (all)")
    parser.add_argument("-k", dest="tests", default="", metavar="EXPRESSION", help="pytest's, for a part of the tests")
    parser.add_argument("--profile", metavar="NAME|FILE", help="what its tests need (found by the project's name)")
    parser.add_argument("--profiles", action="store_true", help="list the profiles that there are, and do nothing else")
    parser.add_argument("--out", type=Path, metavar="DIR", help="journals, logs, report (out/suite/PROJECT)")
    parser.add_argument("--fresh", action="store_true", help="begin anew; what is there is renamed")
    parser.add_argument("--jobs", type=at_least_one, default=2, metavar="N", help="processes at a time (2)")
    parser.add_argument("--timeout", type=_seconds, default=300.0, metavar="S", help="seconds of one test (300)")
    parser.add_argument("--file-timeout", type=_seconds, default=3600.0, metavar="S", help="of one file (3600)")
    parser.add_argument("--memory", type=_size, default=8 * 2**30, metavar="SIZE", help="of one process (8GiB)")
    parser.add_argument("--default-device", action="store_true", help="for tests that know of no device")
    parser.add_argument("--doctests", action="store_true", help="run the examples in docstrings, too")
    parser.add_argument("--json", action="store_true", help="print the results as data")
    parser.set_defaults(call=suite)


def suite(arguments: argparse.Namespace) -> int:
    """Run, compare and tell; returns the exit status."""
    try:
        from torchdevice.testing.suite import pages, plan, profile, runner, verdicts
    except ImportError as error:
        print(f"torchdevice suite: {error}: pip install 'torchdevice-ext[tools]'", file=sys.stderr)
        return USAGE
    try:
        if arguments.profiles:
            _list({name: profile.load(path).about for name, path in profile.shipped().items()}, arguments.json)
            return CLEAN
        if arguments.project is None or not arguments.project.is_dir():
            raise plan.SuiteError(f"there is no folder {arguments.project}" if arguments.project else "name a PROJECT")
        todo = _plan(arguments)
        count = len(todo.files)
        files = "1 file" if count == 1 else f"{count:,} files"
        print(f"{files} of tests, profile {todo.name}, {arguments.jobs} at a time; {todo.out}", file=sys.stderr)
        with progress.during("asking torch"):
            facts = _facts(arguments.project, todo)
        todo.begin(arguments.fresh)
        run = runner.Runner(todo, _tell)
        is_whole = _watched(run)
        with progress.during("comparing"):
            found = verdicts.compare(todo)
            facts["took"] = _took(found)
            pages.write(todo, found, facts)
    except (plan.SuiteError, profile.ProfileError, ValueError) as error:
        print(f"torchdevice suite: {error}", file=sys.stderr)
        return USAGE
    print(json.dumps(pages.to_json(todo, found, facts), indent=1) if arguments.json else _text(todo, found))
    if not is_whole:
        print("torchdevice suite: interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    if not found.rows:
        print("torchdevice suite: no test was run", file=sys.stderr)
        return USAGE
    return CLEAN if found.is_clean else DIFFERS


def _list(profiles: dict[str, str], as_json: bool) -> None:
    lines = (f"{name:<16}{about}" for name, about in profiles.items())
    print(json.dumps(profiles, indent=1) if as_json else "\n".join(lines))


def _plan(arguments: argparse.Namespace) -> Plan:
    from torchdevice.testing.suite import plan, profile

    name, chosen = profile.choose(arguments.profile, arguments.project)
    chosen = replace(
        chosen,
        default_device=chosen.default_device or arguments.default_device,
        doctests=chosen.doctests or arguments.doctests,
    )
    out = arguments.out or Path("out", "suite", profile.project_name(arguments.project))
    limits = plan.Limits(arguments.jobs, arguments.timeout, arguments.file_timeout, arguments.memory)
    choice = ("-k", arguments.tests) if arguments.tests else ()
    return plan.make(arguments.project, arguments.targets, name, chosen, out, limits=limits, choice=choice)


_ASK = """
import torch, torchdevice
state = torchdevice.status()
if not state.active:
    raise SystemExit(f"torchdevice is not active: {state.reason}")
from torchdevice import _C
print(torch.__version__, _C.native_backend_name())
"""


def _facts(project: Path, todo: Plan) -> dict[str, str]:
    """What the figures are of.

    Raises:
        SuiteError: torchdevice is not active here.
    """
    from torchdevice.testing.suite.plan import SuiteError
    from torchdevice.testing.suite.profile import project_name

    asked = subprocess.run(
        [sys.executable, "-c", _ASK], env=todo.environment("cuda"), capture_output=True, text=True, check=False
    )
    if asked.returncode != 0:
        raise SuiteError((asked.stderr.strip() or "torch cannot be imported").splitlines()[-1])
    torch, backend = asked.stdout.split()[-2:]
    name = project_name(project)
    return {
        "project": f"{name} {_version(name, project)}".strip(),
        "profile": todo.name,
        "tests": ", ".join(todo.files) if len(todo.files) <= 5 else f"{len(todo.files)} files",
        **({"choice": " ".join(todo.choice)} if todo.choice else {}),
        "date": date.today().isoformat(),
        "torch": torch,
        "torchdevice": f"{metadata.version('torchdevice-ext')} over {backend}",
        "Python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
    }


def _took(found: Comparison) -> str:
    done = [journal.done for journal in found.units.values() if journal.done]
    peak = max((one["peak"] for one in done), default=0)
    return f"{sum(one['seconds'] for one in done):,.0f} s of processes, at most {peak / 2**20:,.0f} MiB each"


def _version(name: str, project: Path) -> str:
    """Of what is installed, which is what the tests import; else by the folder's name."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        found = re.search(r"-(\d[\w.]*)$", project.resolve().name)
        return found[1] if found else ""


def _watched(run: Runner) -> bool:
    """Run, with a line that tells how far it is where somebody looks; whether it came to its end."""
    ended = threading.Event()

    def show() -> None:
        while not ended.wait(0.5):
            progress.show(_so_far(run.state))

    watcher = threading.Thread(target=show, daemon=True) if sys.stderr.isatty() else None
    if watcher is not None:
        watcher.start()
    try:
        run.run()
    except KeyboardInterrupt:
        return False
    finally:
        ended.set()
        if watcher is not None:
            watcher.join()
            progress.show("")
    return True


def _so_far(state: State) -> str:
    sides = []
    for device in ("cuda", "cpu"):
        counts = {status: count for (where, status), count in state.tests.items() if where == device}
        bad = sum(count for status, count in counts.items() if status not in ("passed", "skipped", "not run"))
        sides.append(
            f"{device} {counts.get('passed', 0):,} passed, {bad:,} failed, {counts.get('skipped', 0):,} skipped"
        )
    left = state.left()
    time_left = (
        "" if left is None else f"; about {left / 60:.0f} min left" if left >= 60 else f"; about {left:.0f} s left"
    )
    return f"{state.done} of {state.total}: {'; '.join(sides)}{time_left}"


def _tell(unit: Unit, journal: Journal, state: State) -> None:
    """A line for each unit, where nobody sees the other one."""
    if not sys.stderr.isatty():
        print(f"{_so_far(state)} ({unit.file} on {unit.device})", file=sys.stderr, flush=True)


def _text(todo: Plan, found: Comparison) -> str:
    lines = [f"{row.test}\n    {row.cause}" for row in found.of("only on cuda")]
    lines += found.untrue
    lines.append(", ".join(f"{count:,} {verdict}" for verdict, count in found.count().items() if count) or "no tests")
    lines.append(f"{todo.out / 'report.html'} opens in a browser; report.md, results.json and logs lie beside it")
    return "\n".join(lines)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be seconds, got {text!r}")
    return value


_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text)
    if found is None or found[2].upper() not in _UNITS or float(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"must be a size such as 8GiB, got {text!r}")
    return int(float(found[1]) * _UNITS[found[2].upper()])
