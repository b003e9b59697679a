"""Whether torch has every operator that codegen/rules.py names: a name that it lacks would be a rule of nothing."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping

from operators import Operators


def check_names(rules: Mapping[str, object], operators: Operators) -> None:
    """Each set or table in `rules` that is named in capitals holds operators; exits with a line for each unknown one.

    A name that only some of the supported releases of torch have (`_foreach_mm` came with 2.13) is to be listed here,
    with its releases, and passed over where it is not expected.
    """
    unknown = [
        f"codegen/rules.py: {table} names {name}, which is no operator of this torch{_nearest(name, operators)}"
        for table, names in rules.items()
        if table.isupper() and isinstance(names, (set, dict))
        for name in sorted(names)
        if name not in operators.by_name
    ]
    if unknown:
        sys.exit("\n".join(unknown))


def _nearest(name: str, operators: Operators) -> str:
    nearest = difflib.get_close_matches(name, operators.by_name, n=1)
    return f"; the nearest is {nearest[0]}" if nearest else ""
