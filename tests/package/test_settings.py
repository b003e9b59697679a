"""Settings: one table, which the code, README and the warning of a misspelt name agree with."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import RunPython
from tests.docs.fields import assert_documented
from torchdevice.settings import AS_UNSET, SETTINGS, mistake, read

ROOT = Path(__file__).resolve().parents[2]

SOURCES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (
        *(ROOT / "csrc").rglob("*.cpp"),
        *(ROOT / "csrc").rglob("*.h"),
        *(ROOT / "torchdevice").rglob("*.py"),
        ROOT / "setup.py",
        ROOT / "wheels/backend.py",
    )
}


def test_the_code_reads_what_the_table_has() -> None:
    names = {
        file: set(re.findall(r'\b(?:read_setting|settings\.read)\("(\w+)"\)', text)) for file, text in SOURCES.items()
    }
    assert set().union(*names.values()) == set(SETTINGS)
    for setting in SETTINGS.values():
        assert setting.name in names[setting.parser], f"{setting.parser} does not read {setting.name}"


def test_nobody_reads_the_environment_past_it() -> None:
    """`torchdevice run` sets some for the program."""
    lines = [line for text in SOURCES.values() for line in text.splitlines() if re.search('env.*"TORCHDEVICE', line)]
    assert [line for line in lines if not re.match(r' +os\.environ\["TORCHDEVICE_\w+"\] = ', line)] == []


def test_what_is_written_of_settings_names_known_ones() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.py")]
    text = "\n".join([*SOURCES.values(), *(path.read_text() for path in documents)])
    assert set(re.findall(r"\bTORCHDEVICE_[A-Z_]*[A-Z]\b", text)) <= set(SETTINGS)


def test_the_named_gpus_are_those_that_there_are() -> None:
    known = re.findall(r'^    \{"(\S+)", "', SOURCES["csrc/runtime/DeviceProfile.cpp"], re.MULTILINE)
    assert SETTINGS["TORCHDEVICE_PROFILE"].values == ", ".join(f"`{name}`" for name in known)


def test_the_command_lists_them() -> None:
    command = [sys.executable, "-m", "torchdevice", "settings"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.partition("=")[0] for line in lines[::3]] == list(SETTINGS)
    assert lines[3:6] == [
        "TORCHDEVICE_COUNT=1 to 64",
        "    number of simulated devices",
        "    unset: 1; empty: as if unset",
    ]


def test_the_command_gives_data() -> None:
    command = [sys.executable, "-m", "torchdevice", "settings", "--json"]
    environment = {**os.environ, "TORCHDEVICE_COUNT": "2"}
    data = json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert_documented("settings", data)
    assert [one["name"] for one in data] == list(SETTINGS)
    assert data[1] == {
        "name": "TORCHDEVICE_COUNT", "values": "1 to 64", "unset": "1", "empty": "as if unset",
        "meaning": "number of simulated devices", "at_build": False, "value": "2",
    }  # fmt: skip


def test_the_command_needs_no_torch(run_python: RunPython) -> None:
    run_python(
        """
        import sys
        from torchdevice.cli import main
        sys.argv = ["torchdevice", "settings"]
        assert main() == 0
        assert "torch" not in sys.modules
        """
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("TORCHDEVICE_FALBACK", "did you mean TORCHDEVICE_FALLBACK?"),
        ("TORCHDEVICE_CAPABILTY", "did you mean TORCHDEVICE_CAPABILITY?"),
        ("TORCHDEVICE_MEM", "did you mean TORCHDEVICE_MEMORY?"),
        ("TORCHDEVICE_FORCE_CPU", "did you mean TORCHDEVICE_FORCE_CPU_OPS?"),
        ("TORCHDEVICE_XYZZY", "`python -m torchdevice settings` lists them"),
        ("TORCHDEVICE_", "`python -m torchdevice settings` lists them"),
    ],
)
def test_the_nearest_name(name: str, hint: str) -> None:
    assert mistake(name) == f"not a setting of torchdevice; {hint}"


def test_a_name_that_is_right() -> None:
    assert [mistake(name) for name in SETTINGS] == [None] * len(SETTINGS)
    with pytest.raises(KeyError, match="TORCHDEVICE_FALBACK"):
        read("TORCHDEVICE_FALBACK")


def warnings_of(process: subprocess.CompletedProcess[str]) -> list[str]:
    return re.findall(r": (RuntimeWarning: .*)", process.stderr)


AGAIN = "import torch, torchdevice, torchdevice_ext; torchdevice.activate(); print(torch.cuda.is_available())"


def test_a_misspelt_name_gives_one_warning(run_python: RunPython) -> None:
    process = run_python(AGAIN, TORCHDEVICE_FALBACK="error", TORCHDEVICE_XYZZY="")
    assert process.stdout == "True\n"
    assert warnings_of(process) == [
        "RuntimeWarning: torchdevice: TORCHDEVICE_FALBACK is not a setting of torchdevice; "
        "did you mean TORCHDEVICE_FALLBACK?",
        "RuntimeWarning: torchdevice: TORCHDEVICE_XYZZY is not a setting of torchdevice; "
        "`python -m torchdevice settings` lists them",
    ]


def test_a_misspelt_name_where_activation_fails(run_python: RunPython) -> None:
    """The second attempt says again why it fails, but not what was said of the name."""
    process = run_python(
        """
        import torch, torchdevice
        from torchdevice.activation import autoload
        autoload()
        """,
        TORCHDEVICE_CONT="2",
        TORCHDEVICE_COUNT="0",
    )
    failed = (
        "RuntimeWarning: torchdevice is not active: activation failed: ValueError: "
        "TORCHDEVICE_COUNT must be an integer from 1 to 64, but it is '0'"
    )
    assert warnings_of(process)[:2] == [
        "RuntimeWarning: torchdevice: TORCHDEVICE_CONT is not a setting of torchdevice; "
        "did you mean TORCHDEVICE_COUNT?",
        failed,
    ]
    assert set(warnings_of(process)[2:]) <= {failed}


@pytest.mark.parametrize("switch", ["TORCHDEVICE", "TORCH_DEVICE_BACKEND_AUTOLOAD"])
def test_a_misspelt_name_is_nothing_to_a_torchdevice_that_is_kept_out(run_python: RunPython, switch: str) -> None:
    assert run_python("import torch", TORCHDEVICE_FALBACK="error", **{switch: "0"}).stderr == ""


#: What the settings that ignore a value are about: is it active, are its operators counted, may a child go on?
STATE = """
    import os, torch, torchdevice
    print(torchdevice.status().active, torch.ones(2).cuda().mul(2).tolist(), torchdevice.report().detailed, flush=True)
    child = os.fork()
    if child == 0:
        try:
            torch.ones(2, device="cuda")
        except RuntimeError as error:
            print(error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""
USUAL = (
    "True [2.0, 2.0] False\n"
    "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must use the 'spawn' start "
    "method\n"
)


def test_an_empty_value_that_is_as_if_unset(run_python: RunPython) -> None:
    empty = {name: "" for name, setting in SETTINGS.items() if setting.empty == AS_UNSET}
    # Two of a build have a use for it.
    assert SETTINGS.keys() - empty.keys() == {"TORCHDEVICE_TORCH", "TORCHDEVICE_SANITIZE"}
    process = run_python(STATE, **empty)
    assert (process.stdout, process.stderr) == (USUAL, "")


def test_a_bad_value_that_is_as_if_unset(run_python: RunPython) -> None:
    bad = {name: "perhaps" for name, setting in SETTINGS.items() if setting.bad == AS_UNSET}
    assert set(bad) == {"TORCHDEVICE", "TORCHDEVICE_FORK"}
    process = run_python(STATE, **bad)
    assert (process.stdout, process.stderr) == (USUAL, "")
