"""torch.profiler where CUPTI has no GPU to watch: device time comes from events around each operator."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.profiler.profiler as profiler

from torchdevice.patches.change import Undo, all_of, set_all


def do_without_cupti() -> Undo:
    """Let torch.autograd.profiler time operators by events; returns what takes it back.

    A CUDA build's would have CUPTI watch a GPU, and know of no device time where there is none.
    """
    return set_all(torch.autograd.profiler, {"_supported_activities": lambda: {torch.profiler.ProfilerActivity.CPU}})


def offer_cuda_activity() -> Undo:
    """Let torch.profiler offer ProfilerActivity.CUDA, alone too; returns what takes it back.

    Without CUPTI torch takes device time for an attribute of operators that the CPU recorded: it does not offer the
    activity, and refuses it alone ("Legacy CUDA profiling requires use_cpu=True"). A GPU offers it and takes it alone.
    """
    cpu, cuda = torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA
    supported: Any = profiler.supported_activities
    kineto: Any = profiler._KinetoProfile
    initialize = kineto.__init__

    @functools.wraps(supported)
    def supported_activities() -> Any:
        return {*supported(), cuda}

    @functools.wraps(initialize)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        initialize(self, *args, **kwargs)
        if cuda in self.activities:
            self.activities = {*self.activities, cpu}

    return all_of(
        set_all(profiler, {"supported_activities": supported_activities}),
        set_all(torch.profiler, {"supported_activities": supported_activities}),
        set_all(kineto, {"__init__": __init__}),
    )
