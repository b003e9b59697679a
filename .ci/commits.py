"""Checks commit messages: `commits.py BASE` those of BASE..HEAD, `commits.py --file FILE` one that is being written.

A subject of at most 72 characters, an empty line, and a body that says why.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SUBJECT = 72
#: git writes these messages itself, and they go before others see them or say it all.
AUTOMATIC = ("Merge ", "Revert ", "fixup! ", "squash! ")


def mistakes(message: str) -> list[str]:
    """What is wrong with a message, one text each."""
    subject, _, rest = message.strip().partition("\n")
    if subject.startswith(AUTOMATIC):
        return []
    wrong = []
    if len(subject) > SUBJECT:
        wrong.append(f"the subject has {len(subject)} characters, more than {SUBJECT}")
    if rest and not rest.startswith("\n"):
        wrong.append("no empty line follows the subject")
    if not rest.strip():
        wrong.append("no body says why")
    return wrong


def without_comments(text: str) -> str:
    """A message as git will take it from the editor."""
    written = text.partition("# ------------------------ >8 ------------------------")[0]
    return "\n".join(line for line in written.splitlines() if not line.startswith("#"))


def commits(base: str) -> list[tuple[str, str]]:
    """Short name and message of the commits since a base."""
    command = ["git", "log", "--format=%h%n%B%x00", f"{base}..HEAD"]
    log = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = (entry.lstrip("\n").partition("\n") for entry in log.split("\0"))
    return [(name, message) for name, _, message in found if name]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("base", nargs="?", help="the commit before the first to check")
    what.add_argument("--file", type=Path, help="a file with one message")
    options = parser.parse_args(arguments)
    if options.file:
        messages = [(str(options.file), without_comments(options.file.read_text(encoding="utf-8")))]
    else:
        messages = commits(options.base)
    wrong = [f"{name}: {what}" for name, message in messages for what in mistakes(message)]
    for line in wrong:
        print(line, file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
