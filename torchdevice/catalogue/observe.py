"""What comes of a public name on device cuda: it is run on the CPU and there, with torch's own samples of it."""

from __future__ import annotations

import contextlib
import doctest
import inspect
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from torchdevice.catalogue.described import described, modules, opinfos
from torchdevice.catalogue.generated import calls
from torchdevice.catalogue.schema import Value

#: Of an operator or a module.
SAMPLES = 4
#: Of an optimizer.
STEPS = 3
SEED = 20260726
#: Names whose examples are not run, and why.
_NOT_HERE = {
    "torch.hub": "its examples download programs",
    "torch.distributed": "its examples are about several processes",
    "torch.multiprocessing": "its examples are about several processes",
    "torch.utils.cpp_extension": "its examples compile C++",
}


@dataclass
class Outcome:
    """What was seen of one name."""

    value: Value
    by: str = ""
    reason: str = ""
    samples: int = 0
    #: Operators that ran on cuda tensors and gave no error.
    operators: list[str] = field(default_factory=list)
    #: Those of them that ran on the CPU in place of the native backend.
    fallen: list[str] = field(default_factory=list)


class _DifferenceError(Exception):
    """Results that do not agree; the message says where."""


class _UnstableError(Exception):
    """The CPU does not do the same twice, in one process."""


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down the operators that tensors on cuda took part in."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = function(*args, **(kwargs or {}))
        leaves = pytree.tree_leaves((args, kwargs, results))
        if any(isinstance(leaf, torch.Tensor) and leaf.device.type == "cuda" for leaf in leaves):
            self.names.add(
                function._schema.name + (f".{function._overloadname}" * (function._overloadname != "default"))
            )
        return results


def observe(name: str) -> Outcome:
    """Run a name with whatever torch describes of it: OpInfo, ModuleInfo, else the examples of its docstring."""
    from torchdevice import _C

    before = _fallen_calls(_C)
    recorder = _Recorder()
    why_not = (reason for prefix, reason in _NOT_HERE.items() if name.startswith(prefix))
    outcome = Outcome("not run", reason=next(why_not, "torch has neither samples nor examples of it"))
    for by, attempt in _ATTEMPTS:
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                samples = attempt(name, recorder)
        except _DifferenceError as error:
            outcome = Outcome("modified", by, str(error), 1)
        except _OnCudaError as error:
            outcome = Outcome("unsupported", by, f"{type(error.error).__name__}: {error.error}"[:500], 1)
        except _UnstableError:
            outcome = Outcome("not run", by, "the CPU does not do the same twice in one process")
            continue
        except Exception as error:
            outcome = Outcome("not run", by, f"on the CPU: {type(error).__name__}: {error}"[:300])
            continue
        else:
            if samples == 0:
                continue
            outcome = Outcome("match", by, samples=samples)
        break
    outcome.operators = sorted(recorder.names)
    outcome.fallen = sorted(one for one, calls in _fallen_calls(_C).items() if calls > before.get(one, 0))
    if outcome.value == "match" and outcome.fallen:
        outcome.value, outcome.reason = "fallback", f"{', '.join(outcome.fallen[:3])} ran on the CPU"
    return outcome


def _fallen_calls(extension: Any) -> dict[str, int]:
    if extension.native_backend_name() == "cpu":
        return {}
    return {name: calls for name, _, (calls, *_), _ in extension.operator_tallies()}


class _OnCudaError(Exception):
    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def _both(call: Callable[[Any], Any], arguments: Any, recorder: _Recorder, places: Any = None) -> None:
    """Call with arguments on the CPU and with copies of them on cuda; compare what comes back.

    `places` are arguments that say which of them belong on cuda; None is all.
    """

    def on_cpu() -> Any:
        torch.manual_seed(SEED)
        return call(_copied(arguments, "cpu"))

    def on_cuda() -> Any:
        given = _copied(arguments, "cuda", places)
        torch.manual_seed(SEED)
        with recorder:
            results = call(given)
        torch.cuda.synchronize()
        return results

    _run(on_cpu, on_cuda)


def _run(on_cpu: Callable[[], Any], on_cuda: Callable[[], Any]) -> None:
    """Compare what both return. Where that differs the CPU is asked again: what it does not do twice tells nothing."""
    torch.manual_seed(SEED)
    before = torch.get_rng_state()
    expected = on_cpu()
    draws = not torch.equal(before, torch.get_rng_state())  # a GPU's numbers are others
    try:
        _compare(expected, on_cuda(), exact=not draws)
    except Exception as error:
        try:
            _compare(expected, on_cpu(), exact=not draws)
        except Exception:
            raise _UnstableError from error
        if isinstance(error, _DifferenceError):
            raise
        raise _OnCudaError(error) from error


def _copied(tree: Any, device: str, places: Any = None) -> Any:
    def copy(leaf: Any, place: Any = None) -> Any:
        if isinstance(leaf, torch.Tensor):
            there = device if not isinstance(place, torch.Tensor) or place.device.type == device else "cpu"
            return leaf.detach().clone().to(there).requires_grad_(leaf.requires_grad)
        return torch.device(device) if isinstance(leaf, torch.device) else leaf

    return pytree.tree_map(copy, tree) if places is None else pytree.tree_map(copy, tree, places)


def _compare(expected: Any, got: Any, exact: bool) -> None:
    leaves, others = pytree.tree_leaves(expected), pytree.tree_leaves(got)
    if len(leaves) != len(others):
        raise _DifferenceError(f"{len(others)} results instead of {len(leaves)}")
    for left, right in zip(leaves, others, strict=True):
        if type(left) is not type(right):
            raise _DifferenceError(f"a {type(right).__name__} instead of a {type(left).__name__}")
        if not isinstance(left, torch.Tensor):
            continue
        for fact in ("dtype", "shape", "layout", "requires_grad"):
            if getattr(left, fact) != getattr(right, fact):
                raise _DifferenceError(f"{fact} {getattr(right, fact)} instead of {getattr(left, fact)}")
        if left.layout is torch.strided and left.stride() != right.stride():
            raise _DifferenceError(f"strides {right.stride()} instead of {left.stride()}")
        if exact:
            try:
                torch.testing.assert_close(right.detach().cpu(), left.detach().cpu(), equal_nan=True)
            except AssertionError as error:
                raise _DifferenceError(str(error).partition("\n")[0]) from None


def _run_property(name: str, recorder: _Recorder) -> int:
    """An attribute of tensors, of some that it may be asked of."""
    attribute = name.removeprefix("torch.Tensor.")
    if attribute == name or callable(getattr(torch.Tensor, attribute, None)):
        return 0
    tensors = [torch.randn(3, 4), torch.randn(3, 3, dtype=torch.complex64), torch.arange(4), torch.randn(2, 3, 4)]
    count = 0
    for tensor in tensors:
        with contextlib.suppress(_RefusedError):
            _both(lambda given: _asked(given, attribute), tensor, recorder)
            count += 1
    return count


class _RefusedError(Exception):
    """The CPU refuses it too."""


def _asked(tensor: Any, attribute: str) -> Any:
    try:
        value = getattr(tensor, attribute)
    except RuntimeError as error:
        if tensor.device.type == "cpu":
            raise _RefusedError from error
        raise
    return value


def _run_opinfo(name: str, recorder: _Recorder) -> int:
    method = name.rpartition(".")[2]
    is_its_own = name in opinfos()
    count = 0
    for op in described(name):
        types = sorted(op.supported_dtypes("cpu"), key=str)
        dtype = torch.float32 if torch.float32 in types else types[0]
        for sample, place in zip(_few(_samples(op, "cpu", dtype)), _samples(op, "cuda", dtype), strict=False):
            if method.endswith("_") and sample.broadcasts_input:
                continue

            def call(given: Any, op: Any = op) -> Any:
                function = op.op if is_its_own else _find(name)
                results = function(given[0], *given[1], **given[2])
                return pytree.tree_map_only(torch.Tensor, torch.zeros_like, results) if "empty" in op.name else results

            arguments, places = (_arguments(one) for one in (sample, place))
            alike = pytree.tree_structure(arguments) == pytree.tree_structure(places)
            count += _tried(call, arguments, recorder, places if alike else None, may_refuse=not is_its_own)
    return count


def _tried(call: Callable[[Any], Any], arguments: Any, recorder: _Recorder, places: Any, *, may_refuse: bool) -> int:
    """How many calls were compared: none where the CPU refuses arguments that were not made for the function."""
    try:
        _both(call, arguments, recorder, places)
    except (_DifferenceError, _OnCudaError, _UnstableError):
        raise
    except Exception:
        if not may_refuse:
            raise
        return 0
    return 1


def _run_generated(name: str, recorder: _Recorder) -> int:
    """Calls with a few tensors, of which the CPU takes some."""
    function, count = _find(name), 0
    if callable(function):
        for arguments in calls(name):
            count += _tried(lambda given: function(*given), arguments, recorder, None, may_refuse=True)
            if count == SAMPLES:
                break
    return count


def _samples(op: Any, device: str, dtype: torch.dtype) -> Iterator[Any]:
    torch.manual_seed(SEED)
    samples: Iterator[Any] = op.sample_inputs(device, dtype, requires_grad=False)
    return samples


def _arguments(sample: Any) -> Any:
    return sample.input, list(sample.args), dict(sample.kwargs)


def _few(samples: Iterator[Any]) -> Iterator[Any]:
    for _, sample in zip(range(SAMPLES), samples, strict=False):
        yield sample


def _run_module(name: str, recorder: _Recorder) -> int:
    kind = _find(name.removesuffix(".forward"))
    info = modules().get(f"{kind.__module__}.{kind.__qualname__}") if isinstance(kind, type) else None
    if info is None:
        return 0
    count = 0
    inputs = info.module_inputs_func(info, device="cpu", dtype=torch.float32, requires_grad=False, training=False)
    for given in _few(iter(inputs)):
        if given.forward_input is None:
            continue
        torch.manual_seed(SEED)
        module = kind(*given.constructor_input.args, **given.constructor_input.kwargs).eval()

        def call(tree: Any, module: Any = module) -> Any:
            device = "cuda" if any(_is_on_cuda(leaf) for leaf in pytree.tree_leaves(tree)) else "cpu"
            return module.to(device)(*tree[0], **tree[1])

        _both(call, (list(given.forward_input.args), dict(given.forward_input.kwargs)), recorder)
        count += 1
    return count


def _run_optimizer(name: str, recorder: _Recorder) -> int:
    """A few steps towards the least squares."""
    kind = _find(name.removesuffix(".step"))
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)) or kind is torch.optim.Optimizer:
        return 0

    make: Any = kind

    def steps(parameter: torch.Tensor) -> torch.Tensor:
        optimizer = make([parameter.requires_grad_()])

        def loss() -> Any:
            optimizer.zero_grad()
            value: Any = (parameter**2).sum()
            value.backward()
            return value

        for _ in range(STEPS):
            optimizer.step(loss)
        return parameter

    _both(steps, torch.linspace(-1, 1, 12).reshape(3, 4), recorder)
    return STEPS


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _is_on_cuda(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.device.type == "cuda"


def _find(name: str) -> Any:
    """The object of a qualified name; None for operators."""
    if "::" in name:
        return None
    value: Any = torch
    for part in name.split(".")[1:]:
        value = inspect.getattr_static(value, part, None) if isinstance(value, type) else getattr(value, part, None)
    return value


def _run_examples(name: str, recorder: _Recorder) -> int:
    """The lines of a docstring's examples, on either device as the default one; their variables are compared."""
    if name.startswith(tuple(_NOT_HERE)):
        return 0
    doc = inspect.getdoc(_find(name)) or ""
    parsed = doctest.DocTestParser().get_examples(doc)
    examples = [one for one in parsed if "SKIP" not in one.source and one.exc_msg is None]
    if not examples:
        return 0
    code = compile("".join(example.source for example in examples), f"<{name}>", "exec")

    def run(device: str) -> dict[str, Any]:
        space = {key: value for key, value in vars(torch).items() if not key.startswith("_")}
        space |= {"torch": torch, "F": torch.nn.functional}
        before = dict(space)
        torch.manual_seed(SEED)
        with torch.device(device):
            exec(code, space)
        return {key: value for key, value in space.items() if value is not before.get(key) and _is_tensor(value)}

    def on_cuda() -> dict[str, Any]:
        with recorder:
            return run("cuda")

    _run(lambda: run("cpu"), on_cuda)
    return len(examples)


_ATTEMPTS: tuple[tuple[str, Callable[[str, _Recorder], int]], ...] = (
    ("OpInfo", _run_opinfo),
    ("ModuleInfo", _run_module),
    ("optimizer", _run_optimizer),
    ("attribute", _run_property),
    ("docstring", _run_examples),
    ("generated calls", _run_generated),
)
