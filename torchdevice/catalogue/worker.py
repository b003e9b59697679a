"""A process that observes names: one a line on stdin, one JSON object a line on stdout."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict


def main() -> None:
    # What the names print must not come between.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    import torch  # noqa: F401, activates torchdevice

    from torchdevice.catalogue.observe import observe

    for line in sys.stdin:
        print(json.dumps(asdict(observe(line.strip()))), file=answers)


if __name__ == "__main__":
    main()
