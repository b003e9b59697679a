"""The wheel for macOS on Apple silicon, built on Linux: `python -m macos.wheel`, or `make wheel-macos`."""
