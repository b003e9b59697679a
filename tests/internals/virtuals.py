"""The virtual functions of a C++ class, read from its header: those that it declares, and those that it overrides."""

from __future__ import annotations

import re
from pathlib import Path


def declared(text: str, name: str) -> set[str]:
    """The virtual functions that class `name` adds to its bases', as `name/number of parameters`."""
    return {function for function in map(_function, _members(text, name)) if function}


def overridden(text: str, name: str) -> set[str]:
    """The functions that class `name` overrides."""
    members = [member for member in _members(text, name) if re.search(r"\)[^()]*\b(override|final)\b", member)]
    return {function for function in (_function(f"virtual {member}") for member in members) if function}


def complaints(title: str, virtual: set[str], ours: set[str], left: dict[str, str], where: str) -> list[str]:
    """What does not add up: each virtual function is either overridden in `where` or left to torch's class, for a
    reason."""
    return [
        *(
            f"{title} has a virtual function {name} that {where} neither overrides nor leaves to torch for a reason"
            for name in sorted(virtual - ours - left.keys())
        ),
        *(f"{title} has no virtual function {name} that could be left to it" for name in sorted(left.keys() - virtual)),
        *(f"{where} overrides {name} of {title} and says that it does not" for name in sorted(left.keys() & ours)),
    ]


def virtuals_of(headers: Path, classes: tuple[tuple[str, str], ...]) -> set[str]:
    """All virtual functions of a class, given with its bases as pairs of header and name."""
    found: set[str] = set()
    for header, name in classes:
        own = declared((headers / header).read_text(), name)
        assert own, f"{header} has no class {name} with virtual functions"
        found |= own
    return found


def _members(text: str, name: str) -> list[str]:
    """The declarations in the body of class `name`, without the bodies of functions."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"", " ", text, flags=re.S)
    text = re.sub(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", " ", text, flags=re.M)
    head = re.search(rf"\b(?:struct|class)\s+(?:\w+\s+)*{name}\b(?:\s+final)?(?:\s*:(?!:)[^;{{]*)?\s*\{{", text)
    if head is None:
        return []
    body, braces, parentheses = "", 0, 0
    for character in text[head.end() :]:
        braces += {"{": 1, "}": -1}.get(character, 0)
        if braces < 0:
            break
        if character in "{}":
            body += ";" if parentheses == 0 else ""
        elif braces == 0:
            parentheses += {"(": 1, ")": -1}.get(character, 0)
            body += character
    return [" ".join(part.split()) for part in body.split(";")]


def _function(member: str) -> str | None:
    """`name/number of parameters` of a declaration that says virtual; None for others, and for destructors."""
    match = re.search(r"\bvirtual\b(.*)", re.sub(r"\[\[.*?\]\]", "", member))
    if match is None or "~" in member:
        return None
    text = re.sub(r"<[^<>]*>", "", re.sub(r"<[^<>]*>", "", match[1]))
    signature = re.search(r"(\w+)\s*\((.*?)\)\s*(?:const\b|noexcept\b|override\b|final\b|=|$)", text)
    if signature is None:
        return None
    parameters = signature[2].strip()
    return f"{signature[1]}/{parameters.count(',') + 1 if parameters and parameters != 'void' else 0}"
