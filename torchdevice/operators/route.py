"""How one operator travels here, from the running process: its kernel, its rules, the fallback, half precision."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from torchdevice import _C, settings
from torchdevice.operators import known

#: What stands before an operator's name where programs call it.
_PREFIXES = ("torch.ops.", "torch.nn.functional.", "torch.Tensor.", "torch.", "Tensor.", "F.")

_ALIASES = {"half": "float16", "float": "float32", "double": "float64", "cfloat": "complex64", "cdouble": "complex128"}
#: torch's names of data types as C++ has them in the rules.
_CPP_TYPES = {
    "bool": "Bool", "uint8": "Byte", "int8": "Char", "int16": "Short", "int32": "Int", "int64": "Long",
    "float16": "Half", "bfloat16": "BFloat16", "float32": "Float", "float64": "Double",
    "complex32": "ComplexHalf", "complex64": "ComplexFloat", "complex128": "ComplexDouble",
}  # fmt: skip

#: By native backend.
_ABSENT_TYPES = {"mps": ("float64", "complex128")}

_LAYOUTS = ("SparseCUDA", "SparseCsrCUDA", "QuantizedCUDA", "NestedTensorCUDA")

HOW = {
    "typed": "a typed kernel forwards it to the native backend's own kernel, without copies",
    "hand-written": "a kernel of its own, in csrc/aten, where the reason stands",
    "boxed": "a boxed kernel forwards it to the native backend's: another library brought it, or other layouts have it",
    "composite": "torch's composite kernel runs on the CUDA tensors, and the operators that it calls are forwarded",
    "decomposed": "torch takes it apart above the backends, and the operators that it calls are forwarded",
    "none": "there is no kernel for device cuda, here or in torch",
}


class UnknownOperatorError(LookupError):
    """torch has no such operator; `nearest` are names that it has."""

    def __init__(self, name: str, nearest: list[str]) -> None:
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
        super().__init__(f"torch has no operator '{name}'{hint}")
        self.nearest = nearest


@dataclass(frozen=True)
class Rule:
    """Something that happens around the kernel."""

    name: str
    meaning: str


@dataclass(frozen=True)
class Route:
    """One form of an operator."""

    name: str
    schema: str
    how: str  #: a key of HOW
    rules: tuple[Rule, ...]
    layouts: tuple[str, ...]  #: other layouts of tensors that have a kernel here
    native_backend: str
    on_cpu: str | None  #: why it runs on the CPU in place of the native backend; None if it does not
    elsewhere: dict[str, str]  #: what torch's yaml has for native backends, wherever this runs
    dtype: str | None  #: what was asked for
    dtype_note: str | None  #: what becomes of that type
    refused: str | None  #: why it raises, as on a GPU; None if it does not

    @property
    def runs_natively(self) -> bool:
        return self.how != "none" and self.on_cpu is None and self.refused is None


def routes(text: str, dtype: str | None = None) -> list[Route]:
    """Of each form that the name means: of one with an overload that one, else all but those with `out=`.

    Raises:
        UnknownOperatorError: torch has no such operator.
        ValueError: torch has no such data type.
    """
    if dtype is not None:
        dtype = dtype_name(dtype)
    return [_route(name, dtype) for name in resolve(text)]


def dtype_name(text: str) -> str:
    """The name of a data type, as torch prints it."""
    name = text.removeprefix("torch.")
    name = _ALIASES.get(name, name)
    if not isinstance(getattr(torch, name, None), torch.dtype):
        names = [one for one in dir(torch) if isinstance(getattr(torch, one), torch.dtype)]
        near = difflib.get_close_matches(name, names, n=1)
        raise ValueError(f"torch has no data type '{text}'{f'; did you mean {near[0]}?' if near else ''}")
    return name


def resolve(text: str) -> list[str]:
    """The dispatcher's names for what a program or a person calls it: one, if it says "::" or names the overload."""
    name = text.strip()
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    if "::" not in name:
        namespace, _, rest = name.partition(".")
        known_namespace = rest and any(one.startswith(f"{namespace}::") for one in _all_names())
        name = f"{namespace}::{rest}" if known_namespace else f"aten::{name}"
    for candidate in (name, _with_underscores(name)):
        if candidate in _all_names() and ("." in candidate or "::" in text):
            return [candidate]
        forms = _forms().get(candidate, [])
        if forms:
            return [form for form in forms if not _writes_to_out(form)] or forms
    raise UnknownOperatorError(text, _nearest(name))


def _writes_to_out(name: str) -> bool:
    """Whether it is a form with `out=`, whatever that is called."""
    return name.endswith("out") or re.search(r"\*.*\(\w!\)", _kernels(name).get("schema", "")) is not None


def _with_underscores(name: str) -> str:
    """linalg.eigh is linalg_eigh; special.erf is special_erf; add_relu.Tensor stays."""
    return re.sub(r"^(\w+::)(linalg|special|fft|nested|sparse)\.", r"\1\2_", name)


def _nearest(name: str) -> list[str]:
    """Also names of which it is a part: eigh is in linalg_eigh."""
    base = name.partition("::")[2].partition(".")[0].strip("_")
    bases = {form.partition("::")[2]: form for form in _forms() if form.startswith("aten::")}
    parts = sorted((one for one in bases if len(base) > 2 and re.search(rf"(^|_){re.escape(base)}(_|$)", one)), key=len)
    close = difflib.get_close_matches(base, bases, n=3, cutoff=0.7)
    public = [one for one in dict.fromkeys([*parts[:3], *close]) if not one.startswith("_")]
    return [bases[one] for one in public[:3]]


@cache
def _all_names() -> frozenset[str]:
    return frozenset(torch._C._dispatch_get_all_op_names())


@cache
def _forms() -> dict[str, list[str]]:
    forms: dict[str, list[str]] = {}
    for name in sorted(_all_names()):
        forms.setdefault(name.partition(".")[0], []).append(name)
    return forms


def _route(name: str, dtype: str | None) -> Route:
    kernels = _kernels(name)
    base = name.removeprefix("aten::")
    how = _how(base, kernels)
    backend = _C.native_backend_name()
    reason = _why_on_cpu(name, kernels, backend, dtype)
    return Route(
        name=name,
        schema=kernels.get("schema", ""),
        how=how,
        rules=tuple(_rules(base, how, kernels)),
        layouts=tuple(key.removesuffix("CUDA") for key in _LAYOUTS if key in kernels),
        native_backend=backend,
        on_cpu=reason,
        elsewhere={"MPS": _over(base, how, "MPS")},
        dtype=dtype,
        dtype_note=_dtype_note(base, how, dtype, backend),
        refused=_refused(base, dtype),
    )


def _kernels(name: str) -> dict[str, str]:
    """The dispatcher's table: who registered the kernel of each key. Alias keys without "[alias]"."""
    lines = torch._C._dispatch_dump(name).splitlines()
    table = {}
    for line in lines:
        key, colon, rest = line.partition(": ")
        if colon and "(inactive)" not in key:
            table[key.removesuffix("[alias]")] = rest
    return table


def _how(base: str, kernels: dict[str, str]) -> str:
    composed = "CompositeExplicitAutograd" in kernels or "CompositeExplicitAutogradNonFunctional" in kernels
    if "torchdevice" in kernels.get("CUDA", ""):
        return "hand-written" if base in known.HANDWRITTEN or not ("CPU" in kernels or composed) else "typed"
    if "CUDA" in kernels or composed:
        return "composite"
    if "CompositeImplicitAutograd" in kernels:
        return "decomposed"
    return "boxed" if "CPU" in kernels or any(key in kernels for key in _LAYOUTS) else "none"


def _rules(base: str, how: str, kernels: dict[str, str]) -> list[Rule]:
    rules = []
    if how == "typed":
        rules.append(_device_rule(base, kernels))
    if base in known.HOST_SYNCS:
        rules.append(Rule("host sync", "on a GPU the host waits for it: torch.cuda.set_sync_debug_mode tells"))
    if base in known.NONDETERMINISTIC:
        rules.append(
            Rule(
                "nondeterministic",
                f"torch.use_deterministic_algorithms refuses it, as {known.NONDETERMINISTIC[base]}, where a GPU does",
            )
        )
    if base in known.FLOAT8:
        rules.append(Rule("float8", "a GPU older than Ada refuses it, and so does a device that reports to be one"))
    if base in known.INT_MM:
        rules.append(Rule("sizes", "a GPU takes more than 16 rows, and the other sizes in multiples of 8"))
    if base in known.FFT:
        rules.append(Rule("half FFT", "halves only where the sizes are powers of two, as cuFFT"))
    if base in known.OF_ONE_TYPE:
        rules.append(Rule("one type", "weight and bias have the type of what is normalised, as on a GPU"))
    if _is_absent(base):
        rules.append(Rule("absent", "CUDA has no kernel for it: the dispatcher's error is raised"))
    if row := _refused_row(base):
        kernel, types, reduction = row
        but = f"; for reductions other than {reduction}" if reduction else ""
        rules.append(
            Rule("refused types", f"CUDA's kernel, {kernel}, lacks {', '.join(map(_python_name, types))}{but}")
        )
    if base in known.LINALG_DRIVERS:
        rules.append(Rule("driver", "cuSOLVER's names for algorithms become LAPACK's"))
    if re.match(known.INTEGER_DIVISIONS, base):
        rules.append(Rule("integer division", "integers divided by zero give a GPU's numbers, not an error"))
    if base in known.BAD_INDICES:
        rules.append(Rule("bad index", "the failed assertion names the index and its bound"))
    if "AutocastCUDA" in kernels:
        rules.append(Rule("autocast", 'torch.autocast("cuda") has a rule for it'))
    return rules


def _device_rule(base: str, kernels: dict[str, str]) -> Rule:
    """What tensors on different devices do, as codegen/rules.py has it."""
    entry = _yaml().get(base, "")
    name, meaning = "same device", "tensors on different devices are CUDA's error"
    if base.startswith("_nested"):
        name, meaning = "any device", "sizes of nested tensors live on the CPU"
    elif base in known.INDEXING:
        name, meaning = "indices", "indices on the CPU are moved to the tensor's device"
    elif base in known.MASKING:
        name, meaning = "mask", "the value may be a tensor without dimensions on the CPU"
    elif base in known.CONVOLUTIONS:
        name, meaning = "convolution", "input and weight are compared as cuDNN compares them"
    elif "CPU" not in kernels:
        name, meaning = "composite", "on different devices the composite kernel runs on them as they are, and raises"
    elif "device_check: NoCheck" in entry or not _has_cuda_kernel(entry):
        name, meaning = "tensor iterator", "as CUDA: a tensor without dimensions may be on the CPU, others may not"
    return Rule(name, meaning)


def _has_cuda_kernel(entry: str) -> bool:
    delegate = re.search(r"structured_delegate: (\S+)", entry)
    return re.search(r"\bCUDA\b", entry + (_yaml().get(delegate[1], "") if delegate else "")) is not None


@cache
def _yaml() -> dict[str, str]:
    """The entries of the native_functions.yaml that ships with torch, as text, by name."""
    path = Path(torch.__file__).parent.parent / "torchgen/packaged/ATen/native/native_functions.yaml"
    if not path.is_file():
        return {}
    entries = re.split(r"^- func: ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {entry.partition("(")[0]: entry for entry in entries}


def _over(base: str, how: str, key: str) -> str:
    entry = _yaml().get(base)
    if entry is None:
        return "unknown: torch's yaml does not have it"
    if how in ("composite", "decomposed"):
        return "composed of other operators"
    delegate = re.search(r"structured_delegate: (\S+)", entry)
    if re.search(rf"\b{key}\b", entry + (_yaml().get(delegate[1], "") if delegate else "")):
        return "torch has a kernel"
    if "CompositeExplicitAutograd" in entry:
        return "composed of other operators"
    return "torch has no kernel: it falls back to the CPU"


def _why_on_cpu(name: str, kernels: dict[str, str], backend: str, dtype: str | None) -> str | None:
    """Where the CPU is the native backend there is no other place."""
    if backend == "cpu":
        return None
    base = name.removeprefix("aten::")
    forced = {
        one.strip().removeprefix("aten::") for one in (settings.read("TORCHDEVICE_FORCE_CPU_OPS") or "").split(",")
    }
    if {base, base.partition(".")[0]} & forced:
        return "TORCHDEVICE_FORCE_CPU_OPS names it"
    if dtype in _ABSENT_TYPES.get(backend, ()):
        return f"{backend.upper()} has no {dtype}"
    composed = any(key.startswith("Composite") for key in kernels)
    if backend.upper() not in kernels and not composed:
        return f"{backend.upper()} has no kernel for it"
    fallen = {one: reason for one, _, (calls, *_), reason in _C.operator_tallies() if calls}
    return fallen.get(name)


def _refused(base: str, dtype: str | None) -> str | None:
    if settings.read("TORCHDEVICE_STRICT") == "0":
        return None
    if _is_absent(base):
        return "CUDA has no kernel for it"
    row = _refused_row(base)
    if row is None or dtype is None or _CPP_TYPES.get(dtype) not in row[1] or row[2]:
        return None
    return f"CUDA's kernel, {row[0]}, has no {dtype}"


def _is_absent(base: str) -> bool:
    """Of an operator that the CPU has and CUDA has not, in this release of torch."""
    return _of_all_forms(base) in known.ABSENT_ON_CUDA and not _has_cuda_kernel(_yaml().get(base, ""))


def _refused_row(base: str) -> tuple[str, tuple[str, ...], str] | None:
    rows: Mapping[str, tuple[str, tuple[str, ...], str]] = known.REFUSED_TYPES
    return rows.get(base) or rows.get(_of_all_forms(base))


def _of_all_forms(base: str) -> str:
    """The name without its overload, as of the functional form."""
    return base.partition(".")[0].removesuffix("_")


def _python_name(cpp_type: str) -> str:
    return next(name for name, cpp in _CPP_TYPES.items() if cpp == cpp_type)


def _dtype_note(base: str, how: str, dtype: str | None, backend: str) -> str | None:
    if dtype is None:
        return None
    wider = _wider_types(base)
    if _CPP_TYPES.get(dtype) in wider:
        return "only CUDA's kernels know the type: it is computed in a wider one, and rounded"
    if dtype in ("float16", "bfloat16"):
        return _half_note(base, how, dtype, backend)
    if dtype in _ABSENT_TYPES.get(backend, ()):
        return f"{backend.upper()} does not know the type: the CPU computes it"
    return "as the native backend's kernel has it"


def _wider_types(base: str) -> tuple[str, ...]:
    functional = re.sub(r"(_|\.out|\.grad_input|\.output)$", "", base)
    of_all_forms: Mapping[str, tuple[str, ...]] = known.WIDER_TYPES_OF_ALL_FORMS
    of_one: Mapping[str, tuple[str, ...]] = known.WIDER_TYPES
    return of_all_forms.get(functional) or of_one.get(base, ())


def _half_note(base: str, how: str, dtype: str, backend: str) -> str:
    if how in ("composite", "decomposed"):
        return "each operator that it is composed of decides for itself"
    row = known.HALVES_IN_FLOAT32.get(base.partition(".")[0])
    if row is None:
        return f"native: the kernel computes in {dtype}"
    if backend != "cpu":
        return f"native: {backend.upper()}'s kernel computes in {dtype}"
    measured = row[0] if dtype == "bfloat16" else row[1]
    described = _C.half_rule()
    if described.endswith("(TORCHDEVICE_HALF)"):
        native, because = described.startswith("native"), "TORCHDEVICE_HALF says so"
    else:
        has_units = f"{dtype} native" in described
        native = {"never": False, "with units": has_units, "without units": not has_units, "always": True}[measured]
        processor = "has units for it" if has_units else "has no units for it"
        because = {"never": "on every processor", "always": "on every processor"}.get(
            measured, f"this processor {processor}"
        )
    way = f"native: the kernel computes in {dtype}" if native else "in float32, rounded once to the half type"
    wide = f"; results {', '.join(map(str, row[2]))} stay float32, as on a GPU" if row[2] and not native else ""
    return f"{way} ({because}){wide}"


def to_dict(route: Route) -> dict[str, Any]:
    """For JSON."""
    data = dict(vars(route))
    data["rules"] = [vars(rule) for rule in route.rules]
    return data | {"layouts": list(route.layouts), "how_in_words": HOW[route.how], "runs_natively": route.runs_natively}
