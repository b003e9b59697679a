"""Random programs on cpu and cuda; `python -m conformance.programs --count 100000` runs more."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance import programs

#: Seeds whose programs failed once. What a seed means changes with conformance/program_steps.py.
FAILED = (23, 41, 96, 531, 2098, 5281, 5546, 6291, 7285, 9745)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(0, 2**32 - 1), min_size=5, max_size=50))
def test_programs_are_equal_at_every_step(steps: list[int]) -> None:
    programs.run(steps)


@pytest.mark.parametrize("seed", range(0, 300, 10))
def test_programs_of_seeds(seed: int) -> None:
    """hypothesis likes small integers; seeds give steps that are spread."""
    for one in range(seed, seed + 10):
        programs.run(programs.program(one))


@pytest.mark.parametrize("seed", FAILED)
def test_what_failed_once(seed: int) -> None:
    programs.run(programs.program(seed))


def test_a_difference_is_found_and_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    real = programs.Machine._compare

    def compare(self: programs.Machine, what: str, cpu: torch.Tensor, cuda: torch.Tensor, exact: bool = True) -> None:
        if cpu.dim() == 3:
            self._differ(what, "three dimensions", "none")
        real(self, what, cpu, cuda, exact)

    monkeypatch.setattr(programs.Machine, "_compare", compare)
    failing = next(steps for steps in map(programs.program, range(100)) if _fails(steps))
    assert len(programs.shrunk(failing)) < 4
    assert _fails(programs.shrunk(failing))


def _fails(steps: list[int]) -> bool:
    try:
        programs.run(steps)
    except programs.DifferenceError as difference:
        return "three dimensions" in str(difference)
    return False
