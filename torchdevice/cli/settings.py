"""`torchdevice settings`: the environment variables that torchdevice reads."""

from __future__ import annotations

import argparse

from torchdevice.settings import SETTINGS, Setting

EPILOG = """\
examples:
  torchdevice settings
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=settings)


def settings(arguments: argparse.Namespace) -> int:
    """Tell; returns the exit status."""
    print(describe_all())
    return 0


def describe_all() -> str:
    """Every setting, for people at a terminal."""
    return "\n".join(_describe(setting) for setting in SETTINGS.values()).replace("`", "")


def _describe(setting: Setting) -> str:
    when = "when torchdevice is built: " if setting.at_build else ""
    return (
        f"{setting.name}={setting.values}\n"
        f"    {when}{setting.meaning}\n"
        f"    unset: {setting.default}; empty: {setting.empty}"
    )
