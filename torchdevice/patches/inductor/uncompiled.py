"""Graphs that inductor generates code for which does not compile: they run operator by operator."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch

from torchdevice.patches.warn import warn_once


def compile_or_run(compile_inner: Callable[..., Any]) -> Callable[..., Any]:
    """inductor's function for one graph, forward or backward, but that it never fails for what it generated."""
    from torch._inductor.exc import InductorError
    from torch._inductor.output_code import MockFXGraphCacheOutput  # what torch runs graphs by that it did not compile

    def compile_it(graph: torch.fx.GraphModule, example_inputs: Sequence[Any], **options: Any) -> Any:
        before = torch.fx.GraphModule(graph, copy.deepcopy(graph.graph))  # inductor's passes change it
        try:
            return compile_inner(graph, example_inputs, **options)
        except InductorError as error:
            warn_once(
                "torch.compile: inductor's code for a graph on device cuda does not compile "
                f"({_said_by_compiler(error)}); torchdevice runs this graph operator by operator: same results, no "
                "speed-up."
            )
            return MockFXGraphCacheOutput(gm=lambda inputs: before(*inputs))

    return compile_it


def _said_by_compiler(error: Exception) -> str:
    """The first error in a compiler's output, else the first line."""
    text = str(error).strip()
    found = re.search(r"^.*?\berror: (.*)$", text, re.MULTILINE)
    return found[1] if found else text.partition("\n")[0]
