"""What a program requires: requirements files, pyproject.toml, and the `install_requires` of a setup.py."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torchdevice.scan.known import TORCH_MINORS
from torchdevice.scan.rules import RULES, Rule

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*(.*)")
_SPECIFIER = re.compile(r"(==|~=|<=|>=|<|>|!=)\s*(\d+)(?:\.(\d+))?")
_QUOTED = re.compile(r"""["']([^"']+)["']""")


@dataclass(frozen=True)
class Requirement:
    """One line of what is required."""

    text: str
    line: int
    guard: str | None = None

    def found(self) -> Iterator[tuple[Rule, str]]:
        """The rules that are about it."""
        split = _REQUIREMENT.match(self.text)
        if split is None:
            return
        name = re.sub(r"[-_.]+", "-", split[1]).lower()
        specifiers = split[2].partition(";")[0].partition("#")[0]
        for rule in RULES.values():
            if any(fnmatchcase(name, pattern) for pattern in rule.requirements):
                yield rule, self.text.partition("#")[0].strip()
        if name == "torch" and not _allows(specifiers):
            yield RULES["torch-release"], self.text.partition("#")[0].strip()


def _allows(specifiers: str) -> bool:
    """Whether some release of torch that torchdevice is for meets them, as far as minors tell."""
    bounds = [(operator, (int(major), int(minor or 0))) for operator, major, minor in _SPECIFIER.findall(specifiers)]
    return any(all(_meets(one, operator, bound) for operator, bound in bounds) for one in TORCH_MINORS)


def _meets(minor: tuple[int, int], operator: str, bound: tuple[int, int]) -> bool:
    if operator == "==":  # `==2.*` too
        return minor == bound or bound == (minor[0], 0)
    if operator == "~=":  # of three numbers; of two it is any later minor
        return minor[0] == bound[0] and minor >= bound
    if operator == "<":
        return minor < bound
    return minor <= bound if operator == "<=" else minor >= bound or operator == "!="


def of_file(text: str, name: str) -> Iterator[Requirement]:
    """Of requirements*.txt; what is not in requirements.txt itself is optional."""
    optional = None if name == "requirements.txt" else f"{name} is optional"
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if bare and not bare.startswith(("#", "-")):
            marker = "it has a marker of environments" if ";" in bare.partition("#")[0] else None
            yield Requirement(bare, number, optional or marker)


def of_project(text: str) -> Iterator[Requirement]:
    """Of pyproject.toml: `dependencies`, and those of extras and groups, which are optional.

    Read by lines, as Python 3.10 has no TOML: a list that is not closed by a bracket goes on.
    """
    section, is_open, optional = "", False, False
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[+([^\]]+)\]+\s*(?:#.*)?$", line)
        if header is not None and not is_open:
            section = header[1].strip()
            continue
        key = re.match(r"\s*([\w.\"-]+)\s*=\s*\[", line)
        if key is not None and not is_open:
            required = section == "project" and key[1] == "dependencies"
            optional = "dependencies" in section or "dependency-groups" in section
            is_open = required or optional
        if is_open:
            for text_of_one in _QUOTED.findall(line.partition("= [")[2] if key is not None else line):
                marker = ";" in text_of_one
                why = f"[{section}] is optional" if optional else "it has a marker of environments" if marker else None
                yield Requirement(text_of_one, number, why)
            is_open = "]" not in re.sub(r"\[[^\]\"']*\]", "", line.partition("=")[2] if key is not None else line)


def of_setup(tree: ast.AST) -> Iterator[Requirement]:
    """Of the literal `install_requires` of a call of setup()."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "install_requires":
            for one in ast.walk(node.value):
                if isinstance(one, ast.Constant) and isinstance(one.value, str):
                    yield Requirement(one.value, one.lineno)
