"""`torchdevice settings`: the environment variables that torchdevice reads."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from torchdevice.settings import SETTINGS, Setting

EPILOG = """\
examples:
  torchdevice settings
  torchdevice settings --json

exit status: 0; `torchdevice info` tells of mistakes in those that are set
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print them as data, with the values that are set")
    parser.set_defaults(call=settings)


def settings(arguments: argparse.Namespace) -> int:
    """Tell; returns the exit status."""
    print(json.dumps(data(), indent=2) if arguments.json else describe_all())
    return 0


def data() -> list[dict[str, Any]]:
    """Every setting, for programs."""
    return [
        {
            "name": one.name,
            "values": _plain(one.values),
            "unset": _plain(one.default),
            "empty": _plain(one.empty),
            "meaning": _plain(one.meaning),
            "at_build": one.at_build,
            "value": os.environ.get(one.name),
        }
        for one in SETTINGS.values()
    ]


def describe_all() -> str:
    """Every setting, for people at a terminal."""
    return _plain("\n".join(_describe(setting) for setting in SETTINGS.values()))


def _plain(markdown: str) -> str:
    return markdown.replace("`", "")


def _describe(setting: Setting) -> str:
    when = "when torchdevice is built: " if setting.at_build else ""
    return (
        f"{setting.name}={setting.values}\n"
        f"    {when}{setting.meaning}\n"
        f"    unset: {setting.default}; empty: {setting.empty}"
    )
