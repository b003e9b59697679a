"""What a block of memory is for: marks that hooks leave while the program runs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch.nn.modules import module as global_hooks
from torch.optim import optimizer as optimizer_hooks
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from torch.utils.hooks import RemovableHandle

from torchdevice import _C

PARAMETERS, BUFFERS, GRADIENTS, OPTIMIZER = "parameters", "buffers", "gradients", "optimizer state"


class Mark(NamedTuple):
    """At that moment the memory at `address` was of that kind."""

    microseconds: int
    kind: str


class Marks:
    """Hooks of torch's that note which memory is a parameter's, a gradient's, an optimizer's, and whose activation.

    Whose activation a block is, stands in the memory history: the name of the module that runs is the allocator's
    metadata meanwhile.
    """

    def __init__(self) -> None:
        self.by_address: dict[tuple[int, int], list[Mark]] = {}
        self.steps = 0
        self._names: dict[int, str] = {}
        self._running: list[str] = []
        self._parameters: dict[int, torch.nn.Parameter] = {}
        self._handles: list[RemovableHandle] = []

    def install(self) -> None:
        self._handles = [
            global_hooks.register_module_forward_pre_hook(self._enter),
            global_hooks.register_module_forward_hook(self._leave, always_call=True),
            optimizer_hooks.register_optimizer_step_pre_hook(self._before_step),
            optimizer_hooks.register_optimizer_step_post_hook(self._after_step),
        ]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._mark_parameters(self._parameters.values())

    def kind_of(self, device: int, address: int, born: int, died: int | None) -> str | None:
        """The kind that somebody saw there while the block lived."""
        for mark in self.by_address.get((device, address), ()):
            if born <= mark.microseconds and (died is None or mark.microseconds <= died):
                return mark.kind
        return None

    def _mark(self, tensor: torch.Tensor | None, kind: str) -> None:
        if not isinstance(tensor, torch.Tensor) or not tensor.is_cuda or tensor.layout != torch.strided:
            return
        if is_traceable_wrapper_subclass(tensor):  # a DTensor, around what this rank has of it
            for name in tensor.__tensor_flatten__()[0]:
                self._mark(getattr(tensor, name), kind)
            return
        storage = tensor.untyped_storage()
        marks = self.by_address.setdefault((tensor.device.index, storage.data_ptr()), [])
        if not marks or marks[-1].kind != kind or kind == GRADIENTS:
            marks.append(Mark(time.time_ns() // 1000, kind))

    def _mark_parameters(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        for parameter in parameters:
            self._mark(parameter.data, PARAMETERS)
            if parameter.is_leaf:  # FSDP's are views of its own, where it keeps them
                self._mark(parameter.grad, GRADIENTS)

    def _enter(self, module: torch.nn.Module, _arguments: Any) -> None:
        if not self._running and id(module) not in self._names:
            for name, one in module.named_modules():
                self._names[id(one)] = f"{type(module).__name__}.{name}".rstrip(".")
        for parameter in module.parameters(recurse=False):
            if id(parameter) not in self._parameters:
                self._parameters[id(parameter)] = parameter
                self._mark(parameter.data, PARAMETERS)
        for buffer in module.buffers(recurse=False):
            self._mark(buffer, BUFFERS)
        self._running.append(self._names.get(id(module), type(module).__name__))
        torch._C._cuda_setMemoryMetadata(self._running[-1])

    def _leave(self, _module: torch.nn.Module, _arguments: Any, _output: Any) -> None:
        if self._running:
            self._running.pop()
        torch._C._cuda_setMemoryMetadata(self._running[-1] if self._running else "")

    def _before_step(self, optimizer: torch.optim.Optimizer, _arguments: Any, _named: Any) -> None:
        self._mark_parameters(one for group in optimizer.param_groups for one in group["params"])

    def _after_step(self, optimizer: torch.optim.Optimizer, _arguments: Any, _named: Any) -> None:
        for state in optimizer.state.values():
            for value in state.values():
                if isinstance(value, torch.Tensor):
                    self._mark(value, OPTIMIZER)
        self.steps += 1
        _C.dry_end_step()
