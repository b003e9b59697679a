"""`torchdevice info`: whether torchdevice is active here, why or why not, over what, and how it is set."""

from __future__ import annotations

import argparse
import json
import os
from itertools import zip_longest
from typing import Any

from torchdevice import progress, settings
from torchdevice.activation import status

#: Exit statuses.
WORKS, DOES_NOT = 0, 1

EPILOG = """\
examples:
  torchdevice info
  torchdevice info --json
  TORCHDEVICE_PROFILE=h100 torchdevice info

exit status: 0 device cuda works, or torchdevice was switched off; 1 it does not work
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print it as data")
    parser.set_defaults(call=info)


def info(arguments: argparse.Namespace) -> int:
    """Tell; returns the exit status."""
    found = data()
    print(json.dumps(found, indent=2) if arguments.json else text(found))
    return exit_status(found)


def describe() -> str:
    """A few lines for people; imports torch, which activates torchdevice unless it is switched off."""
    return text(data())


def data() -> dict[str, Any]:
    """The same for programs."""
    progress.import_torch()
    import torch

    state = status()
    found: dict[str, Any] = {"active": state.active, "reason": state.reason, "torch": str(torch.__version__)}
    if state.active:
        from torchdevice import _C  # loads only where torch is imported

        known_wrong = sorted({name for names, *_ in _C.known_wrong() for name in names})
        found |= {"native_backend": _C.native_backend_name(), "half_precision": _C.half_rule()}
    else:
        known_wrong = []
        found |= {"native_backend": None, "half_precision": None}
    devices = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        devices.append(
            {
                "device": f"cuda:{index}",
                "name": properties.name,
                "memory": properties.total_memory,
                "multiprocessors": properties.multi_processor_count,
                "capability": f"{properties.major}.{properties.minor}",
            }
        )
    set_here = [
        {"name": name, "value": os.environ[name], "mistake": settings.mistake(name)} for name in settings.present()
    ]
    return found | {"known_wrong": known_wrong, "devices": devices, "settings": set_here}


def exit_status(found: dict[str, Any]) -> int:
    """Of `info` and of a short `doctor`."""
    switched_off = settings.read("TORCHDEVICE") == "0" or os.environ.get("TORCH_DEVICE_BACKEND_AUTOLOAD") == "0"
    return WORKS if found["devices"] or switched_off else DOES_NOT


def text(found: dict[str, Any]) -> str:
    """For people."""
    lines = [
        f"torchdevice     {'active' if found['active'] else 'not active'}: {found['reason']}",
        f"torch           {found['torch']}",
    ]
    if found["active"]:
        lines += [f"native backend  {found['native_backend']}", f"half precision  {found['half_precision']}"]
    if wrong := found["known_wrong"]:
        lines.append(f"known wrong     {len(wrong)} operators, done another way where they are (docs/platforms.md)")
    lines.append(f"devices         {len(found['devices'])}")
    lines += [
        f"  {one['device']}        {one['name']}, {one['memory'] / 2**30:.1f} GiB, "
        f"{one['multiprocessors']} multiprocessors, capability {one['capability']}"
        for one in found["devices"]
    ]
    set_here = [f"{one['name']}={one['value']}" + _mistake(one) for one in found["settings"]]
    for label, setting in zip_longest(["settings"], set_here or ["none"], fillvalue=""):
        lines.append(f"{label:<15} {setting}")
    return "\n".join(lines)


def _mistake(setting: dict[str, str | None]) -> str:
    """Of what seems to be a setting and is none."""
    return f" ({setting['mistake']})" if setting["mistake"] else ""
