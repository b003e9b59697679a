"""The documents of the repository, and what they name: paths, commands, links."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_INDENTED = re.compile(r"(?:(?<=\n\n)(?: {4}.*\n)+)")
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_GENERATED = re.compile(r"<!-- ([\w -]+) -->.*?<!-- end of \1 -->", re.DOTALL)


@cache
def tracked() -> list[str]:
    """The repository's files, those that are about to be added included."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(name for name in set(names) if (ROOT / name).exists())


@dataclass(frozen=True)
class Document:
    """One Markdown file."""

    name: str
    text: str

    @property
    def folder(self) -> Path:
        return (ROOT / self.name).parent

    def prose(self) -> str:
        """Without blocks of code."""
        return _INDENTED.sub("", _FENCE.sub("", self.text))

    def spans(self) -> list[str]:
        """What stands in backticks."""
        return _SPAN.findall(self.prose())

    def commands(self) -> list[str]:
        """Lines of code, and what stands in backticks."""
        blocks = _FENCE.findall(self.text) + _INDENTED.findall(self.text)
        return [*self.spans(), *(line for block in blocks for line in block.splitlines())]

    def links(self) -> list[str]:
        return _LINK.findall(self.prose())

    def sections(self) -> list[str]:
        """What people wrote between a heading and the next; what the code writes is left out."""
        return re.split(r"^#+ ", _GENERATED.sub("", self.text), flags=re.MULTILINE)


@cache
def documents() -> list[Document]:
    return [Document(name, (ROOT / name).read_text()) for name in tracked() if name.endswith(".md")]
