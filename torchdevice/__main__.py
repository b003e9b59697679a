"""The command line: `python -m torchdevice info`."""

from __future__ import annotations

import argparse

from torchdevice.info import describe


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m torchdevice", description="CUDA programs without an NVIDIA GPU")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="is torchdevice active here, why or why not, and over what")
    parser.parse_args()
    print(describe())


if __name__ == "__main__":
    main()
