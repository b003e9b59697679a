"""The pytest plug-in: `pytest --torchdevice` runs tests on torchdevice, with devices, memory and a limit of fallbacks.

Every run of pytest loads it, by the entry point `pytest11`. Without an option of its own it does nothing, and imports
nothing of torch or of torchdevice.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

_MARK = (
    "torchdevice(count=None, memory=None, profile=None): with --torchdevice, the test sees such devices; in a process "
    "of its own where this one has others"
)
#: Whether the run is on torchdevice; set once it is active.
_IS_ON = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("torchdevice", "CUDA without an NVIDIA GPU; each of these implies --torchdevice")
    group.addoption(
        "--torchdevice", action="store_true", help='run on torchdevice: device "cuda" without an NVIDIA GPU'
    )
    group.addoption("--torchdevice-count", metavar="N", help="number of devices")
    group.addoption("--torchdevice-memory", metavar="SIZE", help="memory of each device, such as 8GiB")
    group.addoption("--torchdevice-profile", metavar="GPU", help="the GPU that devices report to be, such as a100")
    group.addoption(
        "--torchdevice-max-fallbacks",
        metavar="N",
        type=_number,
        help="fail if more calls than that, in all tests together, ran on the CPU in place of the native backend",
    )
    group.addoption("--torchdevice-report", metavar="FILE", help="write what fell back, test by test, as JSON")
    group.addoption(
        "--torchdevice-leaks", action="store_true", help="a test that leaves memory of a device allocated fails"
    )
    group.addoption(
        "--torchdevice-check",
        action="store_const",
        const="all",
        help="a test in which a GPU's mistakes are found fails: races, memory freed too early, unwritten memory",
    )
    group.addoption(
        "--torchdevice-check-only",
        dest="torchdevice_check",
        metavar="LIST",
        help="likewise, for some of the checkers, with commas between",
    )
    parser.addini("torchdevice", "run on torchdevice, as --torchdevice does", type="bool", default=False)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be 0 or more calls, but is {text!r}")
    return int(text)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Before a conftest.py can import torch, which reads the settings."""
    _start(early_config, early_config.known_args_namespace)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARK)
    _start(config, config.option)  # where a conftest.py names this plug-in, it was not there before
    if not config.stash.get(_IS_ON, False):
        return
    from torchdevice.testing.pytest_alone import Alone
    from torchdevice.testing.pytest_watch import Results, Watch

    results = None if hasattr(config, "workerinput") else Results(config)
    watch = Watch(config, results)
    plugins: list[object | None] = [results, Alone(watch), watch]
    if config.option.torchdevice_check is not None:
        from torchdevice.testing.pytest_check import Check

        plugins.append(Check())
    for plugin in plugins:
        if plugin is not None:
            config.pluginmanager.register(plugin)


def pytest_report_header(config: pytest.Config) -> str | None:
    if not config.stash.get(_IS_ON, False):
        return None
    from torchdevice.testing.pytest_settings import describe

    return f"torchdevice: {describe()}"


def _start(config: pytest.Config, options: argparse.Namespace) -> None:
    """Make torchdevice active as the options want it, if they do."""
    if config.stash.get(_IS_ON, False):
        return
    values = {name: getattr(options, f"torchdevice_{name}") for name in ("count", "memory", "profile")}
    check = options.torchdevice_check
    given: list[Any] = [*values.values(), options.torchdevice_max_fallbacks, options.torchdevice_report, check]
    asked = options.torchdevice or options.torchdevice_leaks or any(value is not None for value in given)
    if not (asked or config.getini("torchdevice")):
        return
    from torchdevice.testing import pytest_settings

    if options.torchdevice_report is not None:
        _check_file(config.invocation_params.dir / options.torchdevice_report)
    try:
        variables = {**pytest_settings.variables(values), **pytest_settings.checkers(check)}
    except ValueError as error:
        raise pytest.UsageError(f"--torchdevice-{error}") from None
    pytest_settings.activate(variables, detailed=options.torchdevice_report is not None)
    config.stash[_IS_ON] = True


def _check_file(path: Path) -> None:
    obstacle = "a folder" if path.is_dir() else None if path.parent.is_dir() else "no such folder"
    if obstacle is not None:
        raise pytest.UsageError(f"--torchdevice-report: cannot write to {path}: {obstacle}")
