"""torch's operators as torchgen reads them from native_functions.yaml, with the questions that the codegen asks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torchgen.gen import parse_native_yaml
from torchgen.model import BackendIndex, BackendMetadata, DispatchKey, NativeFunction


@dataclass(frozen=True)
class Operators:
    functions: list[NativeFunction]
    backends: dict[DispatchKey, BackendIndex]
    by_name: dict[str, NativeFunction]

    @staticmethod
    def from_yaml(folder: Path) -> Operators:
        parsed = parse_native_yaml(str(folder / "native_functions.yaml"), str(folder / "tags.yaml"))
        by_name = {str(function.func.name): function for function in parsed.native_functions}
        return Operators(parsed.native_functions, parsed.backend_indices, by_name)

    def kernel(self, function: NativeFunction, key: DispatchKey) -> BackendMetadata | None:
        """The kernel of `function` for `key`; a structured functional or in-place form has its out= form's."""
        if function.structured_delegate is not None:
            function = self.by_name[str(function.structured_delegate)]
        return self.backends[key].get_kernel(function)

    def has_cpu_kernel(self, function: NativeFunction) -> bool:
        return self.kernel(function, DispatchKey.CPU) is not None

    def has_cuda_kernel(self, function: NativeFunction) -> bool:
        return self.kernel(function, DispatchKey.CUDA) is not None

    def is_composite_explicit(self, function: NativeFunction) -> bool:
        """Whether the operator is composed of others for every backend, yet differentiated as a whole."""
        return self.backends[DispatchKey.CompositeExplicitAutograd].get_kernel(function) is not None
