"""`python -m torchdevice.cli.doctor CLAIM`: the process of one claim, which prints its figure or its error."""

from __future__ import annotations

import sys

from torchdevice.cli.doctor.claims import CLAIMS


def main(name: str) -> int:
    try:
        figure = CLAIMS[name].check()
    except Exception as error:
        print(f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")
        return 1
    print(figure or "")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
