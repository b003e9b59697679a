"""torch's entry point: makes device "cuda" work at the end of `import torch`, and never breaks it.

It stands outside of the package and imports nothing of it but under the guard: an installation that is damaged anywhere
else becomes one line of warning. PYTEST_DONT_REWRITE: it may be imported before pytest is.
"""

from __future__ import annotations

import sys
import warnings


def autoload() -> None:
    """Activate torchdevice, or say in one line why not."""
    try:
        from torchdevice.activation import autoload as activate

        activate()
    except Warning as warning:  # the program's filters make errors of warnings
        print(f"{type(warning).__name__}: {warning}", file=sys.stderr)
    except BaseException as error:
        _warn(f"torchdevice is not active: activation failed: {type(error).__name__}: {error}")


def _warn(text: str) -> None:
    try:
        warnings.warn(text, RuntimeWarning, stacklevel=3)
    except Warning:
        print(text, file=sys.stderr)
