"""`python -m benchmarks`: every figure, as a table and as out/benchmarks.json; ratios of cuda over native CPU."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from benchmarks import compile, instructions, start, training


def main() -> None:
    figures: dict[str, object] = {
        "import torch, active over not (time)": start.ratio(),
        "GPT training step, fp32 (time)": training.ratio(),
    }
    for name, figure in figures.items():
        print(f"{name:40} {figure:.3f}")
    speeds = compile.measure()
    compile.show(speeds)
    figures["compiled programs (time)"] = [asdict(speed) for speed in speeds]
    counts = instructions.measure()
    instructions.show(counts)
    figures["instructions of one call"] = [{**asdict(count), "ratio": count.ratio} for count in counts]
    path = Path("out/benchmarks.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
