"""A guard against slower forwarding: instructions of small operators over those of the CPU device.

Counts repeat, times do not; only ratios are bounded, since the counts depend on the processor's vector instructions.
The bounds lie a little above what docs/performance.md records.
"""

from __future__ import annotations

import shutil
from statistics import geometric_mean

import pytest

from benchmarks.instructions import Count, Measured, measure

#: Operators without a result of their own have nothing that the caching allocator could save.
IN_PLACE = {"mul_"}
SAVES_A_LOT = {"copy_", "native_dropout", "empty"}


@pytest.fixture(scope="module")
def measured() -> Measured:
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed")
    return measure()


def slow(counts: list[Count], grad: bool) -> dict[str, float]:
    """The operators above their bounds."""
    ratios = {count.operator: count.ratio for count in counts if count.grad == grad}
    assert len(ratios) == 18
    bounds = {name: 0.9 if name in SAVES_A_LOT else 1.1 if name in IN_PLACE else 1.09 for name in ratios}
    bounds["mean"], ratios["mean"] = 0.92, geometric_mean(ratios.values())
    return {name: round(ratio, 3) for name, ratio in ratios.items() if ratio > bounds[name]}


@pytest.mark.parametrize("grad", [False, True])
def test_instructions(measured: Measured, grad: bool) -> None:
    assert not slow(measured.counts, grad)


def test_the_redirect_policy_costs_nothing_once_it_is_off(measured: Measured) -> None:
    assert measured.asking_after == pytest.approx(measured.asking_before, rel=1e-3)
