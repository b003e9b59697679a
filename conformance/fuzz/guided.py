"""Hostile input chosen by coverage: `python -m conformance.fuzz.guided -max_total_time=600`, with atheris installed.

What atheris chooses takes the place of random numbers, so that it finds its way through the code of torch that reads
checkpoints and handles. Options are libFuzzer's.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence

import atheris
import torch
from torch import _utils, _weights_only_unpickler, serialization
from torch.multiprocessing import reductions

from conformance.fuzz import hostile

#: Where ways are looked for; atheris would instrument all that `import torch` imports.
READERS = (
    (_weights_only_unpickler.Unpickler, ("load",)),
    (serialization, ("load", "_load", "_legacy_load", "_get_restore_location")),
    (_utils, ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_sparse_tensor")),
    (reductions, ("rebuild_cuda_tensor", "storage_from_cache")),
)


class Chosen(random.Random):
    """Numbers from bytes; once they are used up the same ones each time, as who asks until one fits must get one."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._bytes = iter(data)
        self._rest = random.Random(0)

    def getrandbits(self, count: int) -> int:
        """As random.Random's, on which all else rests."""
        number = 0
        for _ in range((count + 7) // 8):
            byte = next(self._bytes, None)
            number = number << 8 | (self._rest.getrandbits(8) if byte is None else byte)
        return number & ((1 << count) - 1)

    def random(self) -> float:
        """Likewise."""
        return self.getrandbits(53) / 2**53


def main(arguments: Sequence[str]) -> None:
    torch.set_num_threads(1)
    for place, names in READERS:
        for name in names:
            setattr(place, name, atheris.instrument_func(getattr(place, name)))
    atheris.Setup(list(arguments), lambda data: hostile.run(Chosen(data)))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
