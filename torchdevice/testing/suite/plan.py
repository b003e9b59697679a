"""What a run of a suite consists of: the project's files of tests, on either device, and how each is called."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import torchdevice
from torchdevice.testing.suite.profile import Profile

DEVICES = ("cuda", "cpu")
#: Where a project's tests are looked for.
_USUAL = ("tests", "test", "src/tests")
_NOT_TESTS = ("__pycache__", "site-packages", "node_modules", ".git", ".venv", "venv", "build", "dist")


class SuiteError(Exception):
    """The tests cannot be run; the message says why."""


@dataclass(frozen=True)
class Limits:
    """What a run may take."""

    jobs: int = 2
    #: Seconds without news: of one test, of collecting, of ending.
    test: float = 300.0
    #: Seconds of one file's tests on one device.
    file: float = 3600.0
    #: Bytes of one process with its children.
    memory: int = 8 * 2**30


@dataclass(frozen=True)
class Unit:
    """One file on one device."""

    file: str
    device: str


@dataclass(frozen=True)
class Plan:
    """All of a run."""

    folder: Path  #: pytest runs here, and node ids begin here
    files: tuple[str, ...]
    profile: Profile
    name: str  #: of the profile
    out: Path
    limits: Limits = Limits()
    choice: tuple[str, ...] = ()  #: options of pytest that choose tests

    def journal(self, unit: Unit) -> Path:
        return self.out / "journal" / unit.device / f"{_flat(unit.file)}.jsonl"

    def log(self, unit: Unit) -> Path:
        return self.out / "logs" / unit.device / f"{_flat(unit.file)}.log"

    def command(self, unit: Unit, only: Path | None) -> list[str]:
        """The call of pytest. What the project adds to its own calls is left out: coverage, workers, reports."""
        profile = self.profile
        names = ["no:cacheprovider", "torchdevice.testing.suite.outcomes", *profile.plugins]
        if profile.default_device:
            names.append("torchdevice.testing.suite.default_device")
        return [
            *(sys.executable, "-m", "pytest", "-q", "--tb=short", "-o", "addopts=", "--rootdir=."),
            *(argument for name in names for argument in ("-p", name)),
            f"--outcomes={self.journal(unit)}",
            *([f"--outcomes-only={only}"] if only else []),
            *(["--doctest-modules"] if profile.doctests else []),
            *profile.options,
            # The names of failures were chosen already, and may be others on the CPU.
            *(self.choice if only is None else ()),
            unit.file,
        ]

    def environment(self, device: str) -> dict[str, str]:
        """Without torchdevice on the CPU."""
        threads = max(1, (os.cpu_count() or 1) // self.limits.jobs)
        switches = (
            {"TORCHDEVICE": "1"} if device == "cuda" else {"TORCHDEVICE": "0", "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
        )
        ours = str(Path(torchdevice.__file__).parents[1])
        found = [*search(self.folder, self.profile), ours, os.environ.get("PYTHONPATH", "")]
        return {
            "OMP_NUM_THREADS": str(threads),
            **os.environ,
            **{name: value.replace("{device}", device) for name, value in self.profile.environment.items()},
            **switches,
            "SUITE_DEFAULT_DEVICE": device if self.profile.default_device else "",
            "PYTHONPATH": os.pathsep.join(filter(None, found)),
        }

    def settings(self) -> dict[str, Any]:
        """What must be the same where a run goes on."""
        return {"folder": str(self.folder), "profile": self.name, "choice": list(self.choice)}

    def begin(self, fresh: bool) -> None:
        """Make the folder for what is written, or go on in it.

        Raises:
            SuiteError: it holds another run, or cannot be written.
        """
        written = self.out / "run.json"
        try:
            if fresh:
                _move_aside(self.out)
            if written.exists():
                before = json.loads(written.read_text(encoding="utf-8"))
                differing = [key for key, value in self.settings().items() if before.get(key) != value]
                if differing:
                    raise SuiteError(
                        f"{self.out} holds a run with another {' and '.join(differing)}: name another folder with "
                        "--out, or begin anew with --fresh"
                    )
            else:
                for device in DEVICES:
                    (self.out / "journal" / device).mkdir(parents=True, exist_ok=True)
                    (self.out / "logs" / device).mkdir(parents=True, exist_ok=True)
                written.write_text(json.dumps(self.settings(), indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise SuiteError(f"cannot write to {self.out}: {error.strerror}") from None
        except ValueError:
            raise SuiteError(f"{written} is broken: begin anew with --fresh") from None


def _move_aside(folder: Path) -> None:
    """Kept, not deleted: it may hold hours of work."""
    if folder.exists():
        number = 1
        while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
            number += 1
        folder.rename(aside)


def _flat(file: str) -> str:
    return file.replace("..", "up").replace("/", "__").removesuffix(".py")


def search(folder: Path, profile: Profile) -> list[str]:
    """Where the project's modules are looked for before the usual places."""
    places = [folder, *(folder / place for place in ("src", *profile.search))]
    return list(dict.fromkeys(str(place.resolve()) for place in places if place.is_dir()))


def make(project: Path, targets: Sequence[str], name: str, profile: Profile, out: Path, **rest: Any) -> Plan:
    """The plan for a project's files of tests, those of the targets if there are any.

    Raises:
        SuiteError: there is nothing to run, or a module is missing.
    """
    project = project.resolve()
    folder = project / profile.folder if (project / profile.folder).is_dir() else project
    usual = profile.tests or [place for place in _USUAL if (folder / place).is_dir()] or ["."]
    wanted = list(targets) or usual
    roots = (folder, project, *(folder / place for place in usual), Path.cwd())
    files: list[str] = []
    for target in wanted:
        path = next((root / target for root in roots if (root / target).exists()), None)
        if path is None:
            raise SuiteError(f"there is no {target} in {folder}" + ("" if targets else f" (profile {name})"))
        files += [os.path.relpath(one, folder).replace(os.sep, "/") for one in _files(path.resolve(), profile.doctests)]
    if not files:
        raise SuiteError(f"{project} has no tests: no file test_*.py or *_test.py in {', '.join(wanted)}")
    places = [*search(folder, profile), *sys.path]
    missing = [module for module in ("pytest", *profile.needs) if PathFinder.find_spec(module, places) is None]
    if missing:
        raise SuiteError(f"the tests need {', '.join(missing)}: pip install {' '.join(missing)}")
    return Plan(folder, tuple(dict.fromkeys(files)), profile, name, out.resolve(), **rest)


def _files(path: Path, doctests: bool) -> list[Path]:
    if path.is_file():
        return [path]
    found = path.rglob("*.py") if doctests else (*path.rglob("test_*.py"), *path.rglob("*_test.py"))
    return sorted({one for one in found if not set(one.relative_to(path).parts) & set(_NOT_TESTS)})
