"""Runs clang-tidy over the hand-written sources, with the flags of the build; two at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIDY = Path(sys.executable).parent / "clang-tidy"


def check(build: Path, source: Path) -> tuple[Path, int, str]:
    process = subprocess.run([TIDY, "--quiet", f"-p={build}", str(source)], capture_output=True, text=True, check=False)
    return source, process.returncode, process.stdout


def main() -> int:
    databases = sorted((ROOT / "build").glob("*/compile_commands.json"))
    if not databases:
        print("no compile_commands.json under build/: run `make install` first", file=sys.stderr)
        return 2
    build = databases[0].parent
    files = {Path(entry["file"]) for entry in json.loads(databases[0].read_text())}
    sources = sorted(file for file in files if ROOT / "csrc" in file.parents)
    failures = 0
    with ThreadPoolExecutor(2) as pool:
        for source, code, output in pool.map(lambda file: check(build, file), sources):
            if code != 0:
                failures += 1
                print(f"{source.relative_to(ROOT)}\n{output}")
    print(f"clang-tidy: {len(sources) - failures} of {len(sources)} files clean")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
