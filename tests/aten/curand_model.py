"""Which words cuRAND's Philox generator gives to each element of a kernel of torch, written in numpy."""

from __future__ import annotations

import numpy as np


def philox(counter: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Four words for every counter."""
    low = np.uint64(0xFFFFFFFF)
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        first = np.uint64(0xD2511F53) * counter[0]
        second = np.uint64(0xCD9E8D57) * counter[2]
        counter = [
            (second >> np.uint64(32)) ^ counter[1] ^ np.uint64(key[0]),
            second & low,
            (first >> np.uint64(32)) ^ counter[3] ^ np.uint64(key[1]),
            first & low,
        ]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter


def words(numel: int, together: int, seed: int, offset: int, threads: int = 108 * 2048) -> list[np.ndarray]:
    """What curand4() gives the thread of each element, and which of `together` numbers the element takes."""
    threads = min(threads, -(-numel // 256) * 256)
    element = np.arange(numel, dtype=np.uint64)
    step = element // np.uint64(threads * together) + np.uint64(offset // 4)
    place = element % np.uint64(threads * together)
    thread = place % np.uint64(threads)
    drawn = philox([step, step * 0, thread, thread * 0], seed)
    return [*drawn, (place // np.uint64(threads)).astype(np.intp)]


def uniform(words: np.ndarray) -> np.ndarray:
    """curand_uniform(): float32 in (0, 1]."""
    return words.astype(np.float32) * np.float32(2**-32) + np.float32(2**-33)
