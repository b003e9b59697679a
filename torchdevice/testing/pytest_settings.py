"""What the pytest plug-in's options and its mark may ask of devices, and torchdevice made active with it."""

from __future__ import annotations

import difflib
import os
import re
import sys
import warnings
from collections.abc import Mapping

import pytest

from torchdevice import activation, settings

#: What is asked for, and the setting that it is.
VARIABLES = {
    "count": "TORCHDEVICE_COUNT",
    "memory": "TORCHDEVICE_MEMORY",
    "profile": "TORCHDEVICE_PROFILE",
}
_SWITCH, _DETAILS, _CHECK = "TORCHDEVICE", "TORCHDEVICE_REPORT", "TORCHDEVICE_CHECK"
_MOST_DEVICES = 64


def variables(values: Mapping[str, object]) -> dict[str, str]:
    """The settings for what is asked for; None asks for nothing.

    Raises:
        ValueError: there is no such device; the message begins with the name of what was asked for.
    """
    asked = {name: str(value).strip() for name, value in values.items() if value is not None}
    for name in asked:
        if name not in VARIABLES:
            raise ValueError(f"{name}: there is no such argument{_nearest(name, list(VARIABLES))}")
    count, profile = asked.get("count"), asked.get("profile")
    if count is not None and not (re.fullmatch("[0-9]{1,2}", count) and 1 <= int(count) <= _MOST_DEVICES):
        raise ValueError(f"count: must be a number from 1 to {_MOST_DEVICES}, but is '{count}'")
    profiles = re.findall("`(.+?)`", settings.SETTINGS[VARIABLES["profile"]].values)
    if profile is not None and profile.lower() not in profiles:
        raise ValueError(f"profile: there is no '{profile}'{_nearest(profile.lower(), profiles)}")
    return {VARIABLES[name]: text for name, text in asked.items()}


def checkers(names: str | None) -> dict[str, str]:
    """The setting for the checkers that are asked for."""
    return {} if names is None else {_CHECK: names}


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; there are {', '.join(known)}"


def differ(wanted: Mapping[str, str]) -> list[str]:
    """Those of the settings that this process has otherwise, as NAME=value."""
    unset = {VARIABLES["count"]: "1", _DETAILS: "0"}
    return [f"{name}={text}" for name, text in wanted.items() if (settings.read(name) or unset.get(name)) != text]


def activate(wanted: dict[str, str], detailed: bool) -> None:
    """Set the environment for this process and its children, then import torch and make torchdevice active.

    Raises:
        pytest.UsageError: torchdevice does not work here, or not with these settings any more.
    """
    wanted = {**wanted, _DETAILS: "1"} if detailed else wanted
    if settings.read(_SWITCH) == "0":
        raise pytest.UsageError("--torchdevice: TORCHDEVICE=0 is set, which keeps torchdevice out; unset one of them")
    if "torch" in sys.modules and (late := differ(wanted)):
        raise pytest.UsageError(
            f"--torchdevice: torch was imported before with other settings, which cannot change any more; set "
            f"{' '.join(late)} in the environment, or keep what imports torch from doing so before pytest has read "
            "its options (a plug-in, or what calls pytest.main)"
        )
    os.environ.update({**wanted, _SWITCH: "1"})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", activation.NOT_ACTIVE)  # the error below says it
        try:
            state = activation.activate()
        except Exception as error:
            raise pytest.UsageError(f"--torchdevice: {activation.NOT_ACTIVE}{error}") from None
    if not state.active:
        raise pytest.UsageError(f"--torchdevice: {activation.NOT_ACTIVE}{state.reason}")


def describe() -> str:
    """Devices, backend and profile in one line. It does not initialise CUDA: tests may fork."""
    import torch

    from torchdevice import _C

    count = torch.cuda.device_count()
    profile, memory = (settings.read(VARIABLES[name]) for name in ("profile", "memory"))
    return (
        f"{count} device{'' if count == 1 else 's'} over {_C.native_backend_title()}, "
        f"{f'profile {profile}' if profile else 'no profile'}{f', memory {memory}' if memory else ''}"
    )
