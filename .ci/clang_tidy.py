"""Runs clang-tidy over the hand-written sources, with the flags of the build; two at a time."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIDY = Path(sys.executable).parent / "clang-tidy"


def check(build: Path, source: Path) -> tuple[Path, int, str]:
    process = subprocess.run([TIDY, "--quiet", f"-p={build}", str(source)], capture_output=True, text=True, check=False)
    return source, process.returncode, process.stdout


def of_single_sources(entries: list[dict[str, str]]) -> list[dict[str, str]]:
    """The build's commands for each source by itself and without precompiled headers: it must name what it includes."""
    single = []
    for entry in entries:
        command = re.sub(r"-Winvalid-pch|-include \S+/cmake_pch\.hxx", "", entry["command"])
        file = Path(entry["file"])
        together = re.findall(r'#include "(.+)"', file.read_text()) if file.parent.name == "Unity" else [str(file)]
        single += [{**entry, "file": source, "command": command.replace(str(file), source)} for source in together]
    return single


def main() -> int:
    databases = sorted((ROOT / "build").glob("cmake-*/compile_commands.json"))
    if not databases:
        print("no compile_commands.json under build/: run `make install` first", file=sys.stderr)
        return 2
    entries = of_single_sources(json.loads(databases[0].read_text()))
    sources = sorted({path for entry in entries if ROOT / "csrc" in (path := Path(entry["file"])).parents})
    failures = 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        (Path(folder) / "compile_commands.json").write_text(json.dumps(entries))
        for source, code, output in pool.map(lambda file: check(Path(folder), file), sources):
            if code != 0:
                failures += 1
                print(f"{source.relative_to(ROOT)}\n{output}")
    print(f"clang-tidy: {len(sources) - failures} of {len(sources)} files clean")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
