"""CUDA's caching allocator, written down as plainly as possible: the reference for statistics.

Follows c10/cuda/CUDACachingAllocator.cpp of PyTorch (malloc, free, free_block, try_merge_blocks,
release_cached_blocks), with private pools (any number but 0) that stay in use, without expandable segments and
settings. Sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.memory import MIB


@dataclass
class Stat:
    current: int = 0
    peak: int = 0
    allocated: int = 0
    freed: int = 0

    def change(self, amount: int) -> None:
        self.current += amount
        self.peak = max(self.peak, self.current)
        self.allocated += max(amount, 0)
        self.freed += max(-amount, 0)


@dataclass(eq=False)
class Block:
    stream: int
    size: int
    small: bool
    segment: int
    offset: int
    pool: int = 0
    requested: int = 0
    free: bool = True
    used_elsewhere: bool = False
    previous: Block | None = None
    next: Block | None = None

    def is_split(self) -> bool:
        return self.previous is not None or self.next is not None


METRICS = (
    "allocation",
    "segment",
    "active",
    "inactive_split",
    "allocated_bytes",
    "reserved_bytes",
    "active_bytes",
    "inactive_split_bytes",
    "requested_bytes",
)


@dataclass
class Model:
    stats: dict[str, dict[str, Stat]] = field(
        default_factory=lambda: {m: {p: Stat() for p in ("all", "small_pool", "large_pool")} for m in METRICS}
    )
    free_blocks: list[Block] = field(default_factory=list)
    waiting: list[Block] = field(default_factory=list)
    segments: int = 0

    def change(self, metric: str, small: bool, amount: int) -> None:
        for pool in ("all", "small_pool" if small else "large_pool"):
            self.stats[metric][pool].change(amount)

    def malloc(self, nbytes: int, stream: int, pool: int = 0) -> Block:
        self._complete_waiting()
        size = max(512, -(-nbytes // 512) * 512)
        small = size <= MIB
        kind = (stream, small, pool)
        fitting = [b for b in self.free_blocks if (b.stream, b.small, b.pool) == kind and b.size >= size]
        if fitting:
            block = min(fitting, key=lambda b: (b.size, b.segment, b.offset))
            self.free_blocks.remove(block)
        else:
            block = self._new_segment(size, small, stream, pool)
        was_split = block.is_split()
        rest = block.size - size
        if rest >= 512 if small else rest > MIB:
            offset = block.offset + size
            remaining = Block(stream, rest, small, block.segment, offset, pool, previous=block, next=block.next)
            if remaining.next is not None:
                remaining.next.previous = remaining
            block.next, block.size = remaining, size
            self.free_blocks.append(remaining)
            self.change("inactive_split_bytes", small, -size if was_split else rest)
            if not was_split:
                self.change("inactive_split", small, 1)
        elif was_split:
            self.change("inactive_split_bytes", small, -block.size)
            self.change("inactive_split", small, -1)
        block.free, block.requested = False, nbytes
        for metric, amount in (("allocation", 1), ("allocated_bytes", block.size), ("requested_bytes", nbytes)):
            self.change(metric, small, amount)
        self.change("active", small, 1)
        self.change("active_bytes", small, block.size)
        return block

    def _new_segment(self, size: int, small: bool, stream: int, pool: int) -> Block:
        whole = 2 * MIB if small else 20 * MIB if size < 10 * MIB else -(-size // (2 * MIB)) * 2 * MIB
        block = Block(stream, whole, small, self.segments, 0, pool)
        self.segments += 1
        self.change("segment", small, 1)
        self.change("reserved_bytes", small, whole)
        return block

    def release(self, block: Block) -> None:
        self.change("allocation", block.small, -1)
        self.change("allocated_bytes", block.small, -block.size)
        if block.used_elsewhere:
            self.waiting.append(block)
        else:
            self._release_now(block)

    def _release_now(self, block: Block) -> None:
        size, requested, small = block.size, block.requested, block.small
        blocks = size_change = 0
        for neighbour in (block.previous, block.next):
            if neighbour is None or not neighbour.free:
                continue
            self.free_blocks.remove(neighbour)
            blocks -= 1
            size_change -= neighbour.size
            if neighbour is block.previous:
                block.offset, block.previous = neighbour.offset, neighbour.previous
                if block.previous is not None:
                    block.previous.next = block
            else:
                block.next = neighbour.next
                if block.next is not None:
                    block.next.previous = block
            block.size += neighbour.size
        block.free, block.used_elsewhere = True, False
        self.free_blocks.append(block)
        if block.is_split():
            blocks += 1
            size_change += block.size
        self.change("inactive_split", small, blocks)
        self.change("inactive_split_bytes", small, size_change)
        self.change("active", small, -1)
        self.change("active_bytes", small, -size)
        self.change("requested_bytes", small, -requested)

    def _complete_waiting(self) -> None:
        for block in self.waiting:
            self._release_now(block)
        self.waiting.clear()

    def empty_cache(self) -> None:
        self._complete_waiting()
        for block in [b for b in self.free_blocks if not b.is_split() and b.pool == 0]:
            self.free_blocks.remove(block)
            self.change("segment", block.small, -1)
            self.change("reserved_bytes", block.small, -block.size)

    def reset_peak(self) -> None:
        for stat in self._all_stats():
            stat.peak = stat.current

    def reset_accumulated(self) -> None:
        for stat in self._all_stats():
            stat.allocated = stat.freed = 0

    def _all_stats(self) -> list[Stat]:
        return [stat for pools in self.stats.values() for stat in pools.values()]

    def as_dict(self) -> dict[str, dict[str, dict[str, int]]]:
        return {m: {p: vars(s).copy() for p, s in pools.items()} for m, pools in self.stats.items()}
