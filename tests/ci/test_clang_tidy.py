"""The commands by which clang-tidy reads each source by itself."""

from __future__ import annotations

from pathlib import Path

from tests.ci.conftest import LoadScript


def test_sources_compiled_together_are_read_one_by_one(load_script: LoadScript, tmp_path: Path) -> None:
    together = tmp_path / "Unity" / "unity_0_cxx.cxx"
    together.parent.mkdir()
    together.write_text('/* by CMake */\n#include "/csrc/A.cpp"\n\n#include "/csrc/B.cpp"\n')
    command = f"c++ -Winvalid-pch -include /build/cmake_pch.hxx -O2 -o unity_0.o -c {together}"
    alone = {"file": "/csrc/C.cpp", "command": "c++ -O2 -o C.o -c /csrc/C.cpp"}

    single = load_script("clang_tidy").of_single_sources([{"file": str(together), "command": command}, alone])

    assert [entry["file"] for entry in single] == ["/csrc/A.cpp", "/csrc/B.cpp", "/csrc/C.cpp"]
    assert [entry["command"].split() for entry in single] == [
        ["c++", "-O2", "-o", "unity_0.o", "-c", "/csrc/A.cpp"],
        ["c++", "-O2", "-o", "unity_0.o", "-c", "/csrc/B.cpp"],
        ["c++", "-O2", "-o", "C.o", "-c", "/csrc/C.cpp"],
    ]
