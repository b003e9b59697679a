"""What one call did: its results and how they lie in memory, its inputs afterwards, its error, its warnings."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils import _pytree as pytree

from conformance.operators.replicas import _COMPRESSED, Replicas

SEED = 20260726


@dataclass(frozen=True)
class Trial:
    """One call to be made on both devices: `call(*arguments)` returns a tree of results."""

    sample: int
    variant: str
    call: Callable[..., Any]
    arguments: tuple[Any, ...]
    #: The results' values are of no meaning (fresh memory).
    uninitialised: bool = False


@dataclass
class Leaf:
    """A tensor, or any other value, among the results or inputs."""

    facts: dict[str, Any]
    values: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass
class Observation:
    """Everything that is compared between the two devices."""

    error: tuple[str, str] | None = None
    warned: list[tuple[str, str]] = field(default_factory=list)
    results: list[Leaf] = field(default_factory=list)
    inputs: list[Leaf] = field(default_factory=list)
    #: The CPU's default generator has moved.
    host_random: bool = False
    #: It, or a generator that was passed, has moved.
    random: bool = False
    text: str = ""
    #: An argument named the device or lay on it.
    on_device: bool = False


def observe(trial: Trial, device: str) -> Observation:
    """Make the call on a device, with arguments of its own.

    Raises:
        Exception: only from making the arguments or from reading the results; what the call raises is an observation.
    """
    replicas = Replicas(device)
    arguments = replicas.tree(trial.arguments)
    generators = [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, torch.Generator)]
    torch.manual_seed(SEED)
    observation = Observation(on_device=replicas.on_device)
    before = torch.get_rng_state()
    generators_before = [generator.get_state() for generator in generators]
    results: Any = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            results = trial.call(*arguments)
        except Exception as error:
            observation.error = type(error).__name__, str(error)
    observation.warned = [(warning.category.__name__, str(warning.message)) for warning in caught]
    observation.host_random = not torch.equal(before, torch.get_rng_state())
    observation.random = observation.host_random or any(
        not torch.equal(state, generator.get_state())
        for state, generator in zip(generators_before, generators, strict=True)
    )
    inputs = replicas.tensors
    observation.inputs = [_describe(tensor, inputs, as_input=True) for tensor in inputs]
    if observation.error is None:
        leaves = _leaves(results)
        observation.results = [_describe(leaf, inputs) for leaf in leaves]
        if trial.sample == 0 and all(not isinstance(leaf, torch.Tensor) or leaf.numel() < 200 for leaf in leaves):
            observation.text = repr(leaves)
    return observation


def _leaves(tree: Any) -> list[Any]:
    leaves: list[Any] = []
    for leaf in pytree.tree_leaves(tree):
        if dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            leaves += _leaves([getattr(leaf, one.name) for one in dataclasses.fields(leaf)])
        elif isinstance(leaf, torch.nn.utils.rnn.PackedSequence):
            leaves += _leaves(tuple(leaf))
        else:
            leaves.append(leaf)
    return leaves


def _describe(leaf: Any, inputs: list[torch.Tensor], as_input: bool = False) -> Leaf:
    if not isinstance(leaf, torch.Tensor):
        return Leaf({"type": type(leaf).__name__, "value": _plain(leaf)})
    strided = leaf.layout == torch.strided and not leaf.is_nested
    facts: dict[str, Any] = {
        "type": type(leaf).__name__,
        "dtype": str(leaf.dtype),
        "shape": None if leaf.is_nested else tuple(leaf.shape),
        "layout": str(leaf.layout),
        "device": str(leaf.device),
        "requires_grad": leaf.requires_grad,
        "is_leaf": leaf.is_leaf,
        "is_view": leaf._is_view(),
        "inference": leaf.is_inference(),
    }
    if strided:
        facts["strides"] = leaf.stride()
        facts["offset"] = leaf.storage_offset()
        facts["conj"], facts["neg"] = leaf.is_conj(), leaf.is_neg()
    if as_input:
        facts["version"] = None if leaf.is_inference() else leaf._version
    else:
        facts["is_input"] = [index for index, one in enumerate(inputs) if one is leaf]
        facts["shares"] = [index for index, one in enumerate(inputs) if strided and _share(one, leaf)]
    described = Leaf(facts)
    if not leaf._is_zerotensor() and leaf.device.type != "meta":
        described.values = {name: _on_host(part) for name, part in _parts(leaf).items()}
    return described


def _share(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.layout != torch.strided or one.is_nested or one._is_zerotensor() or other._is_zerotensor():
        return False
    return bool(one.untyped_storage()._cdata == other.untyped_storage()._cdata)


def _parts(tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    tensor = tensor.detach()
    if tensor.layout == torch.sparse_coo:
        return {"indices": tensor._indices(), "values": tensor._values()}
    if tensor.layout in _COMPRESSED:
        return {name: getattr(tensor, name)() for name in (*_COMPRESSED[tensor.layout], "values")}
    if tensor.is_nested:
        return {str(index): part for index, part in enumerate(tensor.unbind())}
    if tensor.is_quantized:
        return {"values": tensor.int_repr()}
    return {"values": tensor}


def _on_host(tensor: torch.Tensor) -> torch.Tensor:
    host = tensor.detach().resolve_conj().resolve_neg().cpu()
    return torch.empty(host.shape, dtype=host.dtype).copy_(host)


def _plain(value: Any) -> Any:
    """Values compare by their text where they have no equality of their own."""
    return value if isinstance(value, (bool, int, str, type(None))) else repr(value)
