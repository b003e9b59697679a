"""Two observations of one call, held against each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.testing._comparison import default_tolerances

from conformance.operators.observation import Leaf, Observation, Trial

#: Words that belong to torchdevice or to the CPU behind it; a program for CUDA has never seen them.
INTERNAL = re.compile(
    r"torchdevice::|\balias\b|native backend|DispatchStub|\bCPU\w+Type\b|'CPU' backend|INTERNAL ASSERT|masquerade"
)
_ROUNDED = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128)
_CPU = re.compile(r"cpu", re.IGNORECASE)


@dataclass(frozen=True)
class Finding:
    """A difference: what the CPU did is `expected`, what cuda did is `got`."""

    check: str
    expected: str
    got: str


def compare(trial: Trial, cpu: Observation, cuda: Observation) -> tuple[list[Finding], bool]:
    """The differences; whether all values are bitwise equal (else they are close, or among the differences)."""
    findings = list(_texts(cpu, cuda))
    if not (cpu.error or cuda.error):
        findings += _warnings(cpu.warned, cuda.warned)
    if cpu.error or cuda.error:
        findings += _errors(cpu.error, cuda.error)
        return findings, True
    random = cpu.random or cuda.random
    # A sample that names the other device runs there on either side.
    swapped = any(str(leaf.facts.get("device")).startswith("cuda") for leaf in cpu.results)
    if cuda.host_random and not swapped:
        findings.append(Finding("generator", "the CPU's generator untouched", "it moved"))
    if random and not cpu.host_random and not cuda.random:
        findings.append(Finding("generator", "the generator that was passed moves", "it did not"))
    if len(cpu.results) != len(cuda.results):
        findings.append(Finding("results", f"{len(cpu.results)} results", f"{len(cuda.results)} results"))
        return findings, True
    equal = True
    # A graph that the device's backward thread recorded has its own sequence numbers, on a GPU too: gradients add up in
    # another order, and where they cancel only their size tells what is close.
    size = max((_size(leaf) for leaf in cpu.results), default=0.0) if trial.variant == "double_backward" else 0.0
    for where, one, other in _pairs(cpu, cuda):
        home = "cuda:0" if cuda.on_device else "cpu"
        findings += (Finding(f"{where} {name}", a, b) for name, a, b in _facts(one, other, home))
        if trial.uninitialised:
            continue
        for finding, same in _values(one, other, random, size):
            equal = equal and same
            if finding:
                findings.append(Finding(f"{where} {finding.check}", finding.expected, finding.got))
    comparable = equal and not findings and not random and not trial.uninitialised
    if comparable and normalise(cpu.text).split() != normalise(cuda.text).split():
        findings.append(Finding("repr", cpu.text, cuda.text))
    return findings, equal


def _pairs(cpu: Observation, cuda: Observation) -> Iterator[tuple[str, Leaf, Leaf]]:
    for one, other in zip(cpu.results, cuda.results, strict=True):
        yield "result", one, other
    for one, other in zip(cpu.inputs, cuda.inputs, strict=True):
        yield "input", one, other


def normalise(text: str) -> str:
    """A message with its device words replaced, so that the two devices' messages compare."""
    text = re.sub(r"torch\.cuda\.(\w+Tensor)", r"torch.\1", text)
    text = re.sub(r"cuda:0|cuda", "cpu", text)
    text = text.replace("CUDA", "CPU")
    text = re.sub(r",\s*device='cpu'", "", text)
    text = re.sub(r",?\s*grad_fn=<\w+>", "", text)
    text = re.sub(r"[^\s(]+\.(cpp|h|cu):\d+", "FILE", text)
    text = re.sub(r"\bj\d+\b", "j", text)  # a nested size; each nested tensor has a new one
    return re.sub(r"( object)?( at)? 0x[0-9a-f]+", "", text)


def _errors(cpu: tuple[str, str] | None, cuda: tuple[str, str] | None) -> Iterator[Finding]:
    if cpu is None:
        assert cuda is not None
        yield Finding("raised", "no error", f"{cuda[0]}: {cuda[1]}")
    elif cuda is None:
        yield Finding("not raised", f"{cpu[0]}: {cpu[1]}", "no error")
    elif _is_assertion(cuda) and normalise(cuda[1]).endswith(normalise(cpu[1])):
        return  # what the CPU's kernels check, CUDA's assert
    elif cpu[0] != cuda[0]:
        yield Finding("error type", f"{cpu[0]}: {cpu[1]}", f"{cuda[0]}: {cuda[1]}")
    elif normalise(cpu[1]) != normalise(cuda[1]):
        yield Finding("error text", cpu[1], cuda[1])


def _is_assertion(error: tuple[str, str]) -> bool:
    return error[0] == "AcceleratorError" and error[1].startswith("CUDA error: device-side assert triggered\n")


def _texts(cpu: Observation, cuda: Observation) -> Iterator[Finding]:
    mine = [text for _, text in cuda.warned] + [cuda.text] + ([cuda.error[1]] if cuda.error else [])
    theirs = [text for _, text in cpu.warned] + [cpu.text] + ([cpu.error[1]] if cpu.error else [])
    for text in mine:
        if (word := INTERNAL.search(text)) and not any(word.group() in other for other in theirs):
            yield Finding("text", f"no internal word such as {word.group()!r}", text)
        elif _CPU.search(text) and text in theirs:
            yield Finding("text", "cuda named where the CPU named itself", text)


def _warnings(cpu: list[tuple[str, str]], cuda: list[tuple[str, str]]) -> Iterator[Finding]:
    """Each kind of warning once: how often a loop of operators repeats it is no promise."""
    theirs = {(kind, normalise(text)) for kind, text in cpu if "torch.jit" not in text}
    mine = {(kind, normalise(text)) for kind, text in cuda if "torch.jit" not in text}
    if theirs != mine:
        yield Finding("warnings", str(sorted(theirs - mine)), str(sorted(mine - theirs)))


def _facts(cpu: Leaf, cuda: Leaf, home: str) -> Iterator[tuple[str, str, str]]:
    for name, expected in cpu.facts.items():
        got = cuda.facts.get(name)
        if name == "device":
            expected = home if expected == "cpu" else expected.replace("cuda:0", "cpu")
        elif name == "value" and isinstance(got, str) and isinstance(expected, str):
            expected, got = normalise(expected), normalise(got)
        if got != expected:
            yield name, str(expected), str(got)


def _size(leaf: Leaf) -> float:
    finite = [values[values.isfinite()] for values in leaf.values.values() if values.dtype in _ROUNDED]
    return max((float(values.abs().max()) for values in finite if values.numel()), default=0.0)


def _values(cpu: Leaf, cuda: Leaf, random: bool, size: float) -> Iterator[tuple[Finding | None, bool]]:
    for name, expected in cpu.values.items():
        got = cuda.values.get(name)
        if got is None or got.dtype != expected.dtype or got.shape != expected.shape:
            continue  # a difference of facts, told by them; or a part that is missing
        if random:
            yield _range(expected, got), True
        elif _bitwise(expected, got):
            yield None, True
        else:
            rtol, atol = default_tolerances(expected.dtype)
            atol = max(atol, rtol * size)
            finding = None
            if not torch.allclose(expected, got, rtol=rtol, atol=atol, equal_nan=True):
                finding = Finding("values", _excerpt(expected), _excerpt(got))
            yield finding, False


def _bitwise(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.numel() == 0 or torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8)):
        return True
    if not (one.is_floating_point() or one.is_complex()):
        return False
    if one.is_complex():
        one, other = torch.view_as_real(one), torch.view_as_real(other)
    nans = one.isnan()
    if not torch.equal(nans, other.isnan()):
        return False
    one, other = (tensor.masked_fill(nans, 0).reshape(-1).view(torch.uint8) for tensor in (one, other))
    return torch.equal(one, other)


def _range(cpu: torch.Tensor, cuda: torch.Tensor) -> Finding | None:
    """Random numbers: no NaN where the CPU has none, and inside [0, 1] or above 0 where all of the CPU's are."""
    if cpu.is_complex() or cpu.numel() < 16 or cpu.dtype == torch.bool:
        return None
    low, high = cpu.double(), cuda.double()
    if cpu.is_floating_point() and high.isnan().any() and not low.isnan().any():
        return Finding("range", "no NaN", _excerpt(cuda))
    if low.min() > 0 and high.min() < 0:
        return Finding("range", "at least 0", _excerpt(cuda))
    if low.min() > 0 and low.max() <= 1 and high.max() > 1:
        return Finding("range", "at most 1", _excerpt(cuda))
    return None


def _excerpt(tensor: torch.Tensor) -> str:
    values: Any = tensor.reshape(-1)[:8].tolist()
    return f"{values}{'…' if tensor.numel() > 8 else ''}"
