"""A campaign of random calls, captures, replays, checkpoints and handles: `python -m conformance.fuzz --minutes 10`.

Nothing may crash, hang, or give a wrong number; bad input may only raise. Each round is made of the random numbers of
one seed. Workers run rounds in processes of their own, so that a crash is a finding and not the end.
"""
