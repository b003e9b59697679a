"""What is said of an extension for Linux that must not be shipped: too new, linked wrongly, for another machine."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from torchdevice import _C
from wheels.linux.check import RUNPATH, faults_of, is_allowed, symbols_of

ROOT = Path(__file__).resolve().parents[2]

SOURCE = """
#include <cmath>
namespace at { int get_num_threads(); }
extern "C" void PyErr_Clear();
extern "C" __attribute__((visibility("default"))) int PyInit__C() { PyErr_Clear(); return at::get_num_threads(); }
"""
#: Has another version in glibc 2.29.
EXP = SOURCE.replace("return ", "return std::exp(1.0 + at::get_num_threads()) + ")
EXP_FAULT = "exp of GLIBC_2.29 is newer than manylinux_2_28"

Check = Callable[..., "list[str]"]


def compile_library(path: Path, source: str, *flags: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [
        "c++",
        "-x",
        "c++",
        "-",
        "-x",
        "none",
        "-shared",
        "-fPIC",
        "-fvisibility=hidden",
        "-o",
        str(path),
        *flags,
    ]
    subprocess.run(command, input=source, text=True, check=True, cwd=path.parent)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torch's libraries, of which one has one function, and Python's headers, which declare one."""
    folder = tmp_path_factory.mktemp("target")
    function = 'namespace at { __attribute__((visibility("default"))) int get_num_threads() { return 1; } }'
    for name in ("torch_cpu", "torch", "c10", "shm"):
        path = folder / f"torch/lib/lib{name}.so"
        compile_library(path, function if name == "torch_cpu" else "", f"-Wl,-soname,{path.name}")
    compile_library(folder / "cp311/libtorch_python.so", "")
    (folder / "include").mkdir()
    (folder / "include/Python.h").write_text("PyAPI_FUNC(void) PyErr_Clear(void);\n")
    return folder


@pytest.fixture
def check(target: Path, tmp_path: Path) -> Check:
    """The faults of an extension of this source."""

    def check(
        source: str = SOURCE,
        *flags: str,
        runpath: str = RUNPATH,
        machine: str = "x86_64",
        strip: str = "-Wl,--strip-all",
        binding: str = "-Wl,-z,relro,-z,now",
    ) -> list[str]:
        path = tmp_path / "_C.so"
        libraries = [str(target / "torch/lib/libtorch_cpu.so"), f"-Wl,-rpath,{runpath}"]
        # In this order, a library of the flags is asked before the system's.
        compile_library(path, source, "-fno-builtin", strip, binding, *flags, *libraries)
        return faults_of(path, target, "cp311", target / "include", machine)

    return check


def test_a_sound_extension(check: Check) -> None:
    assert check() == []


def test_a_symbol_that_is_too_new(check: Check) -> None:
    assert check(EXP) == [EXP_FAULT]


def test_the_stub_of_the_build_makes_it_an_old_one(check: Check, tmp_path: Path) -> None:
    stub = tmp_path / "stubs/libm.so.6"
    (tmp_path / "m.map").write_text("GLIBC_2.2.5 { global: *; };\n")
    flags = ("-fvisibility=default", "-nostdlib", "-fno-builtin", "-Wl,-soname,libm.so.6")
    source = (ROOT / "cmake/system_stubs/m.cpp").read_text()
    compile_library(stub, source, *flags, f"-Wl,--version-script={tmp_path / 'm.map'}")
    assert check(EXP, str(stub)) == []


@pytest.mark.skipif(platform.libc_ver() != ("glibc", "2.36"), reason="wheels are built in Debian 12")
def test_the_engine_needs_nothing_new_that_has_no_stub() -> None:
    """Of the engine in use, which was linked without the stubs."""
    undefined = (one for one in symbols_of(Path(_C.__file__)) if not one.defined and one.version)
    stubs = "".join(path.read_text() for path in (ROOT / "cmake/system_stubs").glob("*.cpp"))
    assert [one for one in undefined if not is_allowed(one.version) and not re.search(rf"\b{one.name}\b", stubs)] == []


@pytest.mark.parametrize(
    ("old", "new", "symbol"),
    [("get_num_threads", "get_no_threads", "_ZN2at14get_no_threadsEv"), ("PyErr_Clear", "PyErr_Clean", "PyErr_Clean")],
)
def test_symbols_that_do_not_exist(check: Check, old: str, new: str, symbol: str) -> None:
    assert check(SOURCE.replace(old, new)) == [f"{symbol} is neither in torch nor in Python"]


def test_a_weak_symbol_may_be_absent(check: Check) -> None:
    declared = 'extern "C" __attribute__((weak)) void absent();'
    assert check(declared + SOURCE.replace("{ PyErr", "{ if (absent) absent(); PyErr")) == []


def test_another_place_for_torch(check: Check) -> None:
    assert check(runpath="/opt/torch/lib") == [f"not so: torch is looked for in {RUNPATH} alone"]


def test_a_library_that_nobody_brings(check: Check, tmp_path: Path) -> None:
    compile_library(tmp_path / "libother.so", "", "-Wl,-soname,libother.so.1")
    assert check(SOURCE, "-Wl,--no-as-needed", str(tmp_path / "libother.so")) == [
        "loads libother.so.1, which neither torch nor the system brings"
    ]


def test_no_module_and_more_than_a_module(check: Check) -> None:
    fault = "not so: exports its init function alone"
    assert check(SOURCE.replace("PyInit__C", "PyInit_C")) == [fault]
    assert check(SOURCE + '__attribute__((visibility("default"))) int more = 1;') == [fault]


def test_not_stripped(check: Check) -> None:
    assert check(strip="-g") == ["not so: has no symbols of its own left"]


@pytest.mark.parametrize("binding", ["-Wl,-z,relro,-z,lazy", "-Wl,-z,norelro,-z,now"])
def test_bound_late_or_left_writable(check: Check, binding: str) -> None:
    assert check(binding=binding) == ["not so: is bound when it is loaded, and read-only then"]


def test_a_path_of_the_builder(check: Check, target: Path) -> None:
    fault = "not so: names no folder of the machine that built it"
    for folder in (ROOT, target):
        text = f'const char* volatile where = "{folder}/csrc/a.cpp";'
        assert check(text + SOURCE.replace("{ PyErr", "{ if (!*where) return 2; PyErr")) == [fault]


def test_another_machine(check: Check, target: Path, tmp_path: Path) -> None:
    assert check(machine="aarch64") == ["not so: is for aarch64"]
    file = tmp_path / "no_elf.so"
    file.write_text("no ELF")
    (fault,) = faults_of(file, target, "cp311", target / "include", "x86_64")
    assert fault.startswith(f"{file} is no ELF file: readelf: ")
