"""A process that observes names: one a line on stdin, one JSON object a line on stdout.

A name that takes more seconds of the processor than its argument says ends it, by the signal of a timer.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict


def main() -> None:
    # What the names print must not come between.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    import torch  # noqa: F401, activates torchdevice

    from torchdevice.catalogue.observe import observe

    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, float(sys.argv[1]))
        print(json.dumps(asdict(observe(line.strip()))), file=answers)


if __name__ == "__main__":
    main()
