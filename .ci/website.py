"""What MkDocs asks while it makes the site: pages from outside of docs/, the commands, links that lead out of it."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

#: Pages of the site that stand elsewhere in the repository.
ELSEWHERE = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
COMMANDS = "commands.md"

_FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
#: As wide as help is printed.
_WIDTH = "100"


def on_files(files: Any, config: Any) -> Any:
    """MkDocs' event: add the pages that are not files of docs/."""
    from mkdocs.structure.files import File

    for name, source in ELSEWHERE.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    files.append(File.generated(config, COMMANDS, content=commands()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """MkDocs' event: links within the site, and texts in place of those that lead out of it."""
    return relinked(markdown, page.file.src_uri)


def relinked(markdown: str, page: str) -> str:
    """The text of a page of the site, with links as they are there."""
    source = ELSEWHERE.get(page, f"docs/{page}")
    parts = _FENCE.split(markdown)
    for number in range(0, len(parts), 2):
        parts[number] = _LINK.sub(lambda link: _link(link[1], link[2], source, page), parts[number])
    return "".join(parts)


def _link(text: str, target: str, source: str, page: str) -> str:
    if target.startswith(("http://", "https://", "#")):
        return f"[{text}]({target})"
    path, mark, anchor = target.partition("#")
    place = os.path.normpath(os.path.join(os.path.dirname(source), path))
    homes = {elsewhere: name for name, elsewhere in ELSEWHERE.items()}
    inside = homes.get(place) or (place.removeprefix("docs/") if place.startswith("docs/") else None)
    if inside is None:
        return text  # a file of the repository
    return f"[{text}]({os.path.relpath(inside, os.path.dirname(page) or '.')}{mark}{anchor})"


def commands() -> str:
    """The reference of all commands, from the parser itself."""
    sys.path.insert(0, str(ROOT))
    from torchdevice.cli import make_parser

    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = _WIDTH
    try:
        parser = make_parser("torchdevice")
        lines = ["# Commands", "", "`python -m torchdevice` is the same as the script `torchdevice`.", ""]
        lines += ["```text", parser.format_help().rstrip(), "```", ""]
        for name, one in subcommands(parser).items():
            lines += [f"## torchdevice {name}", "", "```text", one.format_help().rstrip(), "```", ""]
            for inner, two in subcommands(one).items():
                lines += [f"### torchdevice {name} {inner}", "", "```text", two.format_help().rstrip(), "```", ""]
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return "\n".join(lines)


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """By name."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found
