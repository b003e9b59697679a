"""What is said once in a process of a program that torchdevice runs another way than it would a GPU."""

from __future__ import annotations

import warnings

_said: set[str] = set()


def warn_once(text: str, stacklevel: int = 3) -> None:
    """Warn unless the same was said before; `stacklevel` is that of `warnings.warn` in the caller."""
    if text not in _said:
        _said.add(text)
        warnings.warn(text, UserWarning, stacklevel + 1)
