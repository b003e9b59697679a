"""Whether torch has every operator that codegen/rules.py names: a name that it lacks would be a rule of nothing."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Collection, Mapping

from operators import Operators

#: Operators that came with a later release of torch than the oldest supported one, and with which.
SINCE = {"_foreach_mm": (2, 13)}

#: Tables that may name operators without their overloads.
OF_ALL_OVERLOADS = {"ABSENT_ON_CUDA", "HALVES_IN_FLOAT32", "REFUSED_TYPES"}


def check_names(rules: Mapping[str, object], operators: Operators, release: tuple[int, ...]) -> None:
    """Each set or table in `rules` that is named in capitals holds operators of torch's `release`, such as (2, 13);
    exits with a line for each unknown."""
    unknown = [
        f"codegen/rules.py: {table} names {name}, which is no operator of this torch{_nearest(name, operators)}"
        for table, names in rules.items()
        if table.isupper() and isinstance(names, (set, dict))
        for name in sorted(names)
        if name not in _known(table, operators) and release >= SINCE.get(name, release)
    ]
    if unknown:
        sys.exit("\n".join(unknown))


def _known(table: str, operators: Operators) -> Collection[str]:
    bases = {name.split(".")[0] for name in operators.by_name} if table in OF_ALL_OVERLOADS else set()
    return bases | operators.by_name.keys()


def _nearest(name: str, operators: Operators) -> str:
    nearest = difflib.get_close_matches(name, operators.by_name, n=1)
    return f"; the nearest is {nearest[0]}" if nearest else ""
