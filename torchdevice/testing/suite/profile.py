"""What the tests of a certain project need, from a small TOML file: those in `profiles/`, or one of your own."""

from __future__ import annotations

import difflib
import re
import sys
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHIPPED = Path(__file__).with_name("profiles")


class ProfileError(Exception):
    """There is no such profile, or it cannot be used; the message says why."""


@dataclass(frozen=True)
class Profile:
    """How a project's tests are run; the keys of the TOML file."""

    #: The distribution's names, by which a project is recognized.
    names: list[str] = field(default_factory=list)
    #: Where the tests come from, for people.
    about: str = ""
    #: The folder in the project in which pytest runs, and in which node ids begin.
    folder: str = ""
    #: The files or folders of tests that are run where none are named; looked for if there are none.
    tests: list[str] = field(default_factory=list)
    #: Modules that must be importable, besides the project's.
    needs: list[str] = field(default_factory=list)
    #: Where modules are looked for, beside the folder itself and its `src`.
    search: list[str] = field(default_factory=list)
    #: Of pytest.
    options: list[str] = field(default_factory=list)
    plugins: list[str] = field(default_factory=list)
    #: Variables; "{device}" in a value is cuda or cpu.
    environment: dict[str, str] = field(default_factory=dict)
    #: Also the examples in docstrings.
    doctests: bool = False
    #: Whether the device is torch's default one, for tests that know of none.
    default_device: bool = False
    #: What runs on the CPU: "all" tests, or the "failures" of cuda.
    reference: str = "all"
    #: Texts of a test's name on cuda, and what they are on the CPU.
    twins: list[list[str]] = field(default_factory=list)
    #: A ledger of what is known to fail on cuda, beside the profile.
    ledger: str = ""

    def twin(self, test: str) -> str:
        """The node id that a test of cuda has on the CPU."""
        file, *inside = test.split("::")
        for there, here in self.twins:
            inside = [name.replace(there, here) for name in inside]
        return "::".join([file, *inside])


def load(path: Path) -> Profile:
    """The profile of a file.

    Raises:
        ProfileError: it is none.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProfileError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path} is no TOML: {error}") from None
    known = {one.name: one for one in fields(Profile)}
    for key, value in content.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise ProfileError(f"{path}: unknown key '{key}'" + (f"; did you mean '{near[0]}'?" if near else ""))
        if not _fits(value, str(known[key].type)):
            raise ProfileError(f"{path}: {key} must be {known[key].type}, but it is {value!r}")
    profile = Profile(**content)
    if profile.reference not in ("all", "failures"):
        raise ProfileError(f"{path}: reference must be 'all' or 'failures', but it is '{profile.reference}'")
    if profile.ledger:
        profile = replace(profile, ledger=str(path.resolve().parent / profile.ledger))
    return profile


def _fits(value: Any, kind: str) -> bool:
    checks = {
        "str": lambda one: isinstance(one, str),
        "bool": lambda one: isinstance(one, bool),
        "list[str]": lambda one: isinstance(one, list) and all(isinstance(item, str) for item in one),
        "dict[str, str]": lambda one: isinstance(one, dict) and all(isinstance(item, str) for item in one.values()),
        "list[list[str]]": lambda one: isinstance(one, list) and all(_fits(pair, "list[str]") for pair in one),
    }
    return bool(checks[kind](value))


def shipped() -> dict[str, Path]:
    """By name."""
    found = sorted(SHIPPED.glob("*.toml"))
    return {path.stem: path for path in found if not path.name.endswith(".ledger.toml")}


def choose(wish: str | None, project: Path) -> tuple[str, Profile]:
    """The profile that was asked for, by name or file; else the one that knows the project; else an empty one.

    Raises:
        ProfileError: there is no such profile.
    """
    profiles = shipped()
    if wish is not None:
        if wish in profiles:
            return wish, load(profiles[wish])
        if wish.endswith(".toml"):
            return Path(wish).stem, load(Path(wish))
        near = difflib.get_close_matches(wish, profiles, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(profiles)}"
        raise ProfileError(f"there is no profile '{wish}'; {hint}")
    name = project_name(project)
    for stem, path in profiles.items():
        profile = load(path)
        if name in map(_normal, profile.names):
            return stem, profile
    return "none", Profile()


def project_name(project: Path) -> str:
    """What its own files call a project, else its folder."""
    declared = project / "pyproject.toml"
    if declared.is_file():
        try:
            content = tomllib.loads(declared.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            content = {}
        name = content.get("project", {}).get("name")
        if isinstance(name, str):
            return _normal(name)
    for file, pattern in (("setup.py", r"""\bname\s*=\s*["']([\w.-]+)["']"""), ("PKG-INFO", r"^Name: (\S+)")):
        if (project / file).is_file():
            text = (project / file).read_text(encoding="utf-8", errors="replace")
            if found := re.search(pattern, text, re.MULTILINE):
                return _normal(found[1])
    return _normal(re.sub(r"-\d[\w.]*$", "", project.name))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
