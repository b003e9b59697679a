"""Every public name of torch.cuda and its relatives is called on device cuda; only the ledger excuses an error."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance.ledger import LEDGER
from conformance.recipes import RECIPES
from conformance.walk import package_of
from torchdevice.testing import ledger

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def report(package: str) -> dict[str, Any]:
    """What `python -m conformance.walk` saw, in a process of its own, so that no state leaks between packages."""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "conformance.walk", package],
        cwd=ROOT,
        env={**os.environ, "TORCHDEVICE_COUNT": "2"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.parametrize("module", RECIPES)
def test_every_name_answers(module: str) -> None:
    seen = report(package_of(module))[module]
    without_recipe = sorted(set(seen["names"]) - set(RECIPES[module]))
    assert not without_recipe, f"public names of {module} that no line of conformance/recipes.py calls"
    wrong = {}
    for name, error in seen["outcomes"].items():
        full = f"{module}.{name}"
        entry = ledger.find(LEDGER, full)
        if error is None and entry is not None:
            wrong[full] = "works: take it out of conformance/ledger.toml"
        elif error is not None and (entry is None or entry.error != error[0] or entry.text not in error[1]):
            wrong[full] = f"{error[0]}: {error[1]}"
    assert not wrong, "\n".join(f"{name}: {what}" for name, what in wrong.items())


def test_the_ledger_names_what_exists_and_says_why() -> None:
    names = [f"{module}.{name}" for module, recipes in RECIPES.items() for name in recipes]
    assert list(ledger.unused(LEDGER, names)) == []
    assert all(entry.text and len(entry.reason) > 20 for entry in LEDGER)


def test_a_module_without_a_table_would_be_noticed() -> None:
    """torch.cuda's submodules are all walked."""
    import pkgutil

    import torch

    modules = {f"torch.cuda.{module.name}" for module in pkgutil.iter_modules(torch.cuda.__path__)}
    assert {module for module in modules if not module.rpartition(".")[2].startswith("_")} <= set(RECIPES)
