"""torchdevice.testing costs those nothing who do not use it, and does not need torch."""

from __future__ import annotations

from tests.conftest import RunPython


def test_import_torch_loads_none_of_it(run_python: RunPython) -> None:
    run_python("import sys, torch; assert 'torchdevice' in sys.modules and 'torchdevice.testing' not in sys.modules")


def test_it_does_not_load_torch(run_python: RunPython) -> None:
    modules = "torchdevice.testing.ledger, torchdevice.testing.suite.runner, torchdevice.cli.suite"
    run_python(f"import sys, {modules}; assert 'torch' not in sys.modules")
