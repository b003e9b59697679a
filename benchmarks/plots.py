"""A picture of the figures that `python -m benchmarks` measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def bars(figures: Mapping[str, Any]) -> list[tuple[str, Mapping[str, float]]]:
    """The tables of ratios among the figures, with their names."""
    found: list[tuple[str, Mapping[str, float]]] = []
    for name, figure in figures.items():
        if isinstance(figure, Mapping):
            found += [(name, figure["ratios"])] if "ratios" in figure else bars(figure)
    return found


def draw(figures: Mapping[str, Any], path: Path) -> Path | None:
    """Draw every table of ratios as bars around 1; None without matplotlib or tables."""
    tables = bars(figures)
    try:
        from matplotlib import pyplot as plt
    except ImportError:
        return None
    if not tables:
        return None
    columns = min(3, len(tables))
    rows = -(-len(tables) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(6 * columns, 4.2 * rows), squeeze=False)
    for axis in axes.flat[len(tables) :]:
        axis.set_visible(False)
    for axis, (name, ratios) in zip(axes.flat, tables, strict=False):
        values = list(ratios.values())
        axis.barh(list(ratios), values, color=["tab:green" if value <= 1 else "tab:orange" for value in values])
        axis.axvline(1, color="black", linewidth=1)
        axis.invert_yaxis()
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("cuda / cpu")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
