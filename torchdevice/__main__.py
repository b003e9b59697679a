"""`python -m torchdevice`: what the script `torchdevice` does."""

import sys

from torchdevice.cli import main

if __name__ == "__main__":
    sys.exit(main("python -m torchdevice"))
