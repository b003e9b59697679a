"""The mutants of the engine (make test-mps-mutants) name text that is there: else they prove nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mps_simulator.mutants import CONTROL, MUTANTS, TESTS, Mutant


@pytest.mark.parametrize("mutant", [*MUTANTS, CONTROL], ids=lambda mutant: mutant.what)
def test_what_a_mutant_changes_is_there_once(root: Path, mutant: Mutant) -> None:
    assert (root / mutant.file).read_text().count(mutant.old) == 1


def test_the_tests_that_must_notice_are_there(root: Path) -> None:
    assert all((root / test).is_file() for test in TESTS)
