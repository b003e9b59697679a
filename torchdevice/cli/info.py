"""`torchdevice info`: whether torchdevice is active here, why or why not, over what, and how it is set."""

from __future__ import annotations

import argparse
import os
from itertools import zip_longest

from torchdevice import settings
from torchdevice.activation import status

EPILOG = """\
examples:
  torchdevice info
  TORCHDEVICE_PROFILE=h100 torchdevice info
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=info)


def info(arguments: argparse.Namespace) -> int:
    """Tell; returns the exit status."""
    print(describe())
    return 0


def describe() -> str:
    """A few lines for people; imports torch, which activates torchdevice unless it is switched off."""
    import torch

    state = status()
    lines = [
        f"torchdevice     {'active' if state.active else 'not active'}: {state.reason}",
        f"torch           {torch.__version__}",
    ]
    if state.active:
        from torchdevice import _C  # loads only where torch is imported

        lines.append(f"native backend  {_C.native_backend_name()}")
        lines.append(f"half precision  {_C.half_rule()}")
        if rules := _C.known_wrong():
            operators = {name for names, *_ in rules for name in names}
            lines.append(
                f"known wrong     {len(operators)} operators, done another way where they are (docs/platforms.md)"
            )
    lines.append(f"devices         {torch.cuda.device_count()}")
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        lines.append(
            f"  cuda:{index}        {properties.name}, {properties.total_memory / 2**30:.1f} GiB, "
            f"{properties.multi_processor_count} multiprocessors, capability {properties.major}.{properties.minor}"
        )
    for label, setting in zip_longest(["settings"], _settings() or ["none"], fillvalue=""):
        lines.append(f"{label:<15} {setting}")
    return "\n".join(lines)


def _settings() -> list[str]:
    """What is set, "NAME=value", and what seems to be a setting and is none."""
    mistakes = {name: settings.mistake(name) for name in settings.present()}
    return [f"{name}={os.environ[name]}" + (f" ({mistake})" if mistake else "") for name, mistake in mistakes.items()]
