"""What is said of an extension for macOS that must not be shipped: linked or signed wrongly, for another machine."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from wheels.macos.check import RPATH, faults_of
from wheels.macos.mach_o import MachO, MalformedError
from wheels.releases import DEFAULT_TORCH
from wheels.sources import python_names

SOURCE = """
namespace at { int get_num_threads(); }
extern "C" void PyErr_Clear();
extern "C" __attribute__((visibility("default"))) int PyInit__C() { PyErr_Clear(); return at::get_num_threads(); }
"""

ROOT = Path(__file__).resolve().parents[2] / "build/wheels"
TARGET = ROOT / "macosx_14_0_arm64" / DEFAULT_TORCH
HEADERS = ROOT / "python/cp311/include"

Link = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def sysroot() -> Path:
    if not HEADERS.exists() or not (TARGET / "stubs/libSystem.tbd").exists():
        pytest.skip("needs what `make wheels` downloads for macOS")
    return TARGET


@pytest.fixture
def link(root: Path, sysroot: Path, tmp_path: Path) -> Link:
    """Compile `source` and link it into tmp_path/_C.so by the rule of the build."""
    rule = re.search(r'CREATE_SHARED_MODULE\s+"(.*)"', (root / "cmake/macos-link.cmake").read_text())
    assert rule is not None

    def run(
        source: str = SOURCE, *flags: str, rpath: str = RPATH, releases: str = "14.0 14.0"
    ) -> subprocess.CompletedProcess[str]:
        (tmp_path / "x.cpp").write_text(source)
        zig = [str(ROOT / "tools/zig/ziglang/zig"), "c++", "-target", "aarch64-macos.14.0", "-O2", "-g0"]
        subprocess.run(
            [*zig, "-fvisibility=hidden", "-c", str(tmp_path / "x.cpp"), "-o", str(tmp_path / "x.o")], check=True
        )
        libraries = [sysroot / "torch/lib/libtorch_cpu.dylib", *sorted((sysroot / "stubs").glob("*.tbd"))]
        command = (
            rule[1]
            .replace("${WHEELS_ROOT}", str(ROOT))
            .replace("<LINK_FLAGS>", f"@{HEADERS.parent / 'python_api.rsp'}")
            .replace("<OBJECTS>", str(tmp_path / "x.o"))
            .replace("<LINK_LIBRARIES>", shlex.join([*map(str, libraries), "-rpath", rpath]))
            .replace("-platform_version macos 14.0 14.0", f"-platform_version macos {releases}")
            .replace("<TARGET>", str(tmp_path / "_C.so"))
        )
        return subprocess.run([*shlex.split(command), *flags], capture_output=True, text=True, check=False)

    return run


def test_a_sound_extension(link: Link, sysroot: Path, tmp_path: Path) -> None:
    process = link()
    assert process.returncode == 0, process.stderr
    assert faults_of(tmp_path / "_C.so", sysroot, "cp311", HEADERS) == []
    undefined = MachO(tmp_path / "_C.so").undefined
    assert undefined["__ZN2at15get_num_threadsEv"].library == "@rpath/libtorch_cpu.dylib"
    assert undefined["_PyErr_Clear"].library == "dynamic lookup"


@pytest.mark.parametrize(
    ("old", "new", "symbol"),
    [("get_num_threads", "get_no_threads", "at::get_no_threads()"), ("PyErr_Clear", "PyErr_Clean", "_PyErr_Clean")],
)
def test_symbols_that_do_not_exist_do_not_link(link: Link, old: str, new: str, symbol: str) -> None:
    process = link(SOURCE.replace(old, new))
    assert process.returncode != 0
    assert f"undefined symbol: {symbol}" in process.stderr


def test_symbols_that_do_not_exist_do_not_link_where_nothing_calls(link: Link) -> None:
    process = link(SOURCE + 'void absent_one();\n__attribute__((visibility("hidden"))) void dead() { absent_one(); }\n')
    assert process.returncode != 0
    assert "undefined symbol: absent_one()" in process.stderr


def test_symbols_that_do_not_exist_are_seen_in_the_file(link: Link, sysroot: Path, tmp_path: Path) -> None:
    assert link(SOURCE.replace("PyErr_Clear", "PyErr_Clean"), "-U", "_PyErr_Clean").returncode == 0
    assert faults_of(tmp_path / "_C.so", sysroot, "cp311", HEADERS) == ["_PyErr_Clean is not in dynamic lookup"]


def test_without_a_signature(link: Link, sysroot: Path, tmp_path: Path) -> None:
    assert link(SOURCE, "-no_adhoc_codesign").returncode == 0
    assert faults_of(tmp_path / "_C.so", sysroot, "cp311", HEADERS) == ["not signed"]


def test_changed_after_it_was_signed(link: Link, sysroot: Path, tmp_path: Path) -> None:
    assert link().returncode == 0
    extension = tmp_path / "_C.so"
    content = bytearray(extension.read_bytes())
    content[600] ^= 1
    extension.write_bytes(content)
    assert "page 0 is not as signed" in MachO(extension).signature_faults()


@pytest.mark.parametrize(
    ("releases", "fault"),
    [
        ("15.0 15.0", "not so: runs from macOS (14, 0) on"),
        ("13.0 14.0", "not so: runs from macOS (14, 0) on"),
        ("14.0 26.0", "not so: SDK is at most (15, 0)"),
    ],
)
def test_another_release_of_macos(link: Link, sysroot: Path, tmp_path: Path, releases: str, fault: str) -> None:
    assert link(releases=releases).returncode == 0
    assert faults_of(tmp_path / "_C.so", sysroot, "cp311", HEADERS) == [fault]


def test_another_place_for_torch(link: Link, sysroot: Path, tmp_path: Path) -> None:
    assert link(rpath="/opt/torch/lib").returncode == 0
    assert faults_of(tmp_path / "_C.so", sysroot, "cp311", HEADERS) == [f"not so: torch is looked for in {RPATH} alone"]


def test_a_library_that_torch_does_not_bring(link: Link, sysroot: Path, tmp_path: Path) -> None:
    name = "/usr/lib/libother.dylib"
    stub = (sysroot / "stubs/libSystem.tbd").read_text().replace("/usr/lib/libSystem.B.dylib", name)
    (tmp_path / "other.tbd").write_text(re.sub(r"symbols: \[.*\]", "symbols: [ '_other' ]", stub))
    source = 'extern "C" void other();' + SOURCE.replace("{ PyErr", "{ other(); PyErr")
    assert link(source, str(tmp_path / "other.tbd")).returncode == 0
    assert faults_of(tmp_path / "_C.so", sysroot, "cp311", HEADERS) == [
        f"loads {name}, which torch does not bring",
        f"_other is not in {name}",
    ]


def test_no_module(link: Link, sysroot: Path, tmp_path: Path) -> None:
    assert link(SOURCE.replace("PyInit__C", "PyInit_C")).returncode == 0
    assert faults_of(tmp_path / "_C.so", sysroot, "cp311", HEADERS) == ["not so: exports its init function"]


def test_a_file_for_another_machine(tmp_path: Path) -> None:
    file = tmp_path / "_C.so"
    file.write_bytes(b"\x7fELF" + bytes(60))
    with pytest.raises(MalformedError, match="is no Mach-O file for arm64: magic 0x464c457f, CPU 0x0"):
        MachO(file)
    assert faults_of(file, tmp_path, "cp311", tmp_path)[0].startswith(str(file))


def test_names_of_pythons_interface(tmp_path: Path) -> None:
    (tmp_path / "object.h").write_text(
        "PyAPI_FUNC(int) PyErr_Clear(void);\nPyAPI_DATA(PyTypeObject) PyType_Type;\nPyAPI_FUNC(const char *)\n"
        "    PyModule_GetName(PyObject *);\nint private_one(void);\n"
        "#ifdef PY_SSIZE_T_CLEAN\n#define PyArg_Parse  _PyArg_Parse_SizeT\n#endif\n"
    )
    assert python_names(tmp_path) == {"PyErr_Clear", "PyType_Type", "PyModule_GetName", "_PyArg_Parse_SizeT"}
