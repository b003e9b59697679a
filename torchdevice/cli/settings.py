"""What `torchdevice settings` prints: the environment variables that torchdevice reads."""

from __future__ import annotations

from torchdevice.settings import SETTINGS, Setting


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
