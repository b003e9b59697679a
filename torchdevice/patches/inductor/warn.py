"""What is said once of torch.compile."""

from __future__ import annotations

import warnings

_said: set[str] = set()


def warn_once(text: str) -> None:
    """Warn where torch.compile's backend was called, unless the same was said before."""
    if text not in _said:
        _said.add(text)
        warnings.warn(text, UserWarning, stacklevel=4)
