"""`torchdevice why`: how an operator travels here."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from torchdevice import progress
from torchdevice.activation import status

if TYPE_CHECKING:
    from torchdevice.operators.route import Route

#: Exit statuses; argparse has the last one too.
NATIVE, NOT_NATIVE, USAGE = 0, 1, 2

EPILOG = """\
examples:
  torchdevice why linalg.eigh
  torchdevice why aten::addmm --dtype bfloat16
  torchdevice why index.Tensor --json

exit status: 0 it runs natively, 1 it falls back to the CPU, has no kernel or is refused, 2 there is no such operator
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("operator", help="a name of torch's, such as linalg.eigh, aten::mul or index.Tensor")
    parser.add_argument("--dtype", help="a data type, such as float16: what becomes of it")
    parser.add_argument("--json", action="store_true", help="print it as data")
    parser.set_defaults(call=lambda arguments: why(arguments.operator, arguments.dtype, arguments.json))


def why(operator: str, dtype: str | None, as_json: bool) -> int:
    """Tell; returns the exit status."""
    progress.import_torch()
    state = status()
    if not state.active:
        print(f"torchdevice why: torchdevice is not active: {state.reason}", file=sys.stderr)
        return USAGE
    from torchdevice.operators.route import UnknownOperatorError, routes, to_dict

    try:
        found = routes(operator, dtype)
    except (UnknownOperatorError, ValueError) as error:
        print(f"torchdevice why: {error}", file=sys.stderr)
        return USAGE
    print(json.dumps([to_dict(route) for route in found], indent=2) if as_json else "\n\n".join(map(_text, found)))
    return NATIVE if all(route.runs_natively for route in found) else NOT_NATIVE


def _text(route: Route) -> str:
    from torchdevice.operators.route import HOW

    lines = [f"{route.name}: {route.how}", f"  schema          {route.schema}", f"  kernel          {HOW[route.how]}"]
    lines += [f"  rule            {rule.name}: {rule.meaning}" for rule in route.rules]
    if route.layouts:
        lines.append(f"  other layouts   {', '.join(route.layouts)}")
    place = f"natively, on {route.native_backend}" if route.on_cpu is None else f"on the CPU: {route.on_cpu}"
    if route.refused is not None:
        place = f"not, as on a GPU: {route.refused}; TORCHDEVICE_STRICT=0 lets it"
    lines.append(f"  runs            {place if route.how != 'none' else 'not at all'}")
    lines += [f"  {f'over {backend}':<15} {text}" for backend, text in route.elsewhere.items()]
    if route.dtype is not None and route.refused is None:
        lines.append(f"  {route.dtype:<15} {route.dtype_note}")
    return "\n".join(lines)
