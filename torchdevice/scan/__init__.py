"""The compatibility analyser, `torchdevice scan`: reads a program, without running it, and says what will not work.

`analysis.scan` reads; `rules` is what it looks for; the commands and formats are in `torchdevice/cli/scan.py`.
"""
