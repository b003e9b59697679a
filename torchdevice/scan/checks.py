"""What a use of a Python program is found for: the patterns of the rules, and what patterns cannot tell."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Iterator

from torchdevice.scan.known import CANNOT_WORK
from torchdevice.scan.program import CALL, IMPORT, NAME, TEXT, Program, Use
from torchdevice.scan.rules import RULES, Rule

#: (the rule's id, what was found)
Found = Iterator[tuple[str, str]]

_CPP = "torch.utils.cpp_extension"
_COLLECTIVES = {
    f"torch.distributed.{name}"
    for name in (
        "all_gather", "all_gather_into_tensor", "all_reduce", "all_to_all", "all_to_all_single", "barrier", "broadcast",
        "gather", "recv", "reduce", "reduce_scatter", "reduce_scatter_tensor", "scatter", "send",
    )
}  # fmt: skip
_RUNS = {f"subprocess.{name}" for name in ("run", "call", "check_call", "check_output", "Popen")}
_SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
_RAISING = {"subprocess.check_call", "subprocess.check_output"}
_LOADERS = {"ctypes.CDLL", "ctypes.cdll.LoadLibrary", "ctypes.PyDLL", "ctypes.windll.LoadLibrary", "ctypes.WinDLL"}
_LIBRARY = re.compile(r"(?:.*/)?(?:lib)?(?:cuda|cudart|cublas|cudnn|cufft|curand|cusolver|cusparse|nccl|nvrtc|nvcuda"
                      r"|nvidia-ml)[\w.-]*\.(?:so|dll|dylib)[\d.]*")  # fmt: skip
_SMI = re.compile(r"(?:^|[|;&(])\s*(?:[\w/.-]*/)?nvidia-smi(?![\w.-])")  # where a shell expects a command
_DEVICE = re.compile(r"cuda(?::(\d+))?")
_ITEMS = {"__getitem__", "__getitems__", "__iter__"}


def check(program: Program) -> Iterator[tuple[Use, Rule, str]]:
    """All that the rules say of a program."""
    forks = _forks(program)
    imports = {use.name for use in program.uses if use.kind == IMPORT}
    for use in program.uses:
        found = [*_by_patterns(use, imports)]
        for kind, find in _CHECKS:
            if use.kind == kind:
                found += find(use)
        if forks:
            found += _cuda_in_worker(use)
        for id, what in found:
            yield use, RULES[id], what


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of some names, or below one."""
    return any(name == pattern or name.startswith(f"{pattern}.") for pattern in patterns)


def _by_first_name() -> dict[str, list[Rule]]:
    """The rules that have patterns, by the first part of these."""
    found: defaultdict[str, list[Rule]] = defaultdict(list)
    for rule in RULES.values():
        for first in dict.fromkeys(name.partition(".")[0] for name in (*rule.modules, *rule.names)):
            found[first].append(rule)
    return found


_RULES = _by_first_name()


def _by_patterns(use: Use, imports: set[str]) -> Found:
    if use.kind not in (IMPORT, NAME, CALL):
        return
    rules = _RULES.get(use.name.partition(".")[0], [])
    for rule in rules:
        if use.kind == IMPORT:
            if matches(use.name, rule.modules) and not _is_said_better(rule, rules, use.name):
                yield rule.id, f"import {use.name}"
        elif matches(use.name, rule.names) and not any(
            matches(use.name, (one,)) and matches(one, rule.modules) for one in imports
        ):
            yield rule.id, use.name  # and was not told of at its import


def _is_said_better(rule: Rule, rules: list[Rule], name: str) -> bool:
    """A rule for a part of a library says more than that for the whole."""
    longest = max(len(one) for one in rule.modules if matches(name, (one,)))
    return any(len(one) > longest and matches(name, (one,)) for other in rules for one in other.modules)


# ---------------------------------------------------------------- calls


def _ledger(use: Use) -> Found:
    reason = CANNOT_WORK.get(use.name)
    if reason is not None:
        yield "raises-here", f"{use.name}: {reason}"


def _extensions(use: Use) -> Found:
    call = _call(use)
    if call is None or not use.name.startswith(f"{_CPP}."):
        return
    name = use.name.removeprefix(f"{_CPP}.")
    if name == "CUDAExtension":
        yield "cuda-extension", name
    elif name == "CppExtension":
        yield "cpp-extension", name
    elif name == "load_inline":
        sources = _argument(call, "cuda_sources", 2)
        empty = sources is None or (isinstance(sources, ast.Constant) and not sources.value) or _is_empty(sources)
        yield ("cpp-extension", name) if empty else ("cuda-extension", f"{name}(cuda_sources=…)")
    elif name == "load":
        cuda = _argument(call, "with_cuda", 8)
        if (isinstance(cuda, ast.Constant) and cuda.value is True) or any(
            text.endswith(".cu") for text in _texts(_argument(call, "sources", 1))
        ):
            yield "cuda-extension", f"{name}(…) of CUDA sources"


def _programs(use: Use) -> Found:
    call = _call(use)
    if call is None or use.name not in _RUNS | _SHELLS or not call.args:
        return
    command = call.args[0]
    words = list(_texts(command))
    if not any(_SMI.search(word) for word in (words[:1] if isinstance(command, ast.List) else words)):
        return
    in_shell = use.name in _SHELLS or _is_true(call, "shell")
    raises = not in_shell or use.name in _RAISING or _is_true(call, "check")
    yield "nvidia-smi" if raises else "nvidia-smi-in-shell", f"{use.name}(… nvidia-smi …)"


def _libraries(use: Use) -> Found:
    call = _call(use)
    if call is not None and use.name in _LOADERS and call.args:
        library = next(_texts(call.args[0]), "")
        if _LIBRARY.fullmatch(library):
            yield "cuda-library", f'{use.name}("{library}")'


def _torch_calls(use: Use) -> Found:
    call = _call(use)
    if call is None:
        return
    if use.name == "torch.compile" and _text_of(_argument(call, "mode", None)) not in (None, "default"):
        yield "compile-mode", f"torch.compile(mode={_text_of(_argument(call, 'mode', None))!r})"
    if use.name == "torch.distributed.init_process_group":
        backend = _text_of(_argument(call, "backend", 0)) or ""
        if "nccl" in backend:
            yield "nccl", f"init_process_group({backend!r})"
    if use.name in _COLLECTIVES and "torch.cuda.graph" in use.contexts:
        yield "collective-in-graph", use.name
    if use.name == ".double" and not call.args and not call.keywords:
        yield "float64", ".double()"
    if use.name in (".cuda", "torch.cuda.set_device"):
        index = _argument(call, "device", 0)
        if isinstance(index, ast.Constant) and isinstance(index.value, int) and index.value >= 1:
            yield "several-devices", ast.unparse(call)[-40:]
    if use.name == ".cuda":
        yield "cuda", ".cuda()"
    if use.name.endswith(".from_pretrained"):
        if _text_of(_argument(call, "attn_implementation", None)) == "flash_attention_2":
            yield "flash-attn", 'attn_implementation="flash_attention_2"'
        for option in ("load_in_8bit", "load_in_4bit"):
            if _is_true(call, option):
                yield "bitsandbytes", f"{option}=True"


# ---------------------------------------------------------------- names and texts


def _torch_names(use: Use) -> Found:
    if matches(use.name, ("torch.cuda", "torch.backends.cuda", "torch.backends.cudnn", "torch.accelerator")):
        yield "cuda", use.name


def _texts_of_cuda(use: Use) -> Found:
    device = _DEVICE.fullmatch(use.name)
    if device is not None:
        if int(device[1] or 0) >= 1:
            yield "several-devices", f'"{use.name}"'
        yield "cuda", f'"{use.name}"'
    elif use.name.startswith("TORCH_NCCL_") and use.name.isupper():
        yield "nccl-settings", use.name
    elif re.fullmatch(r"(?:\S+,)?expandable_segments:[Tt]rue(?:,\S+)?", use.name):
        yield "allocator-settings", use.name
    elif use.name == "CUDAExecutionProvider":
        yield "onnxruntime-cuda", use.name


#: For each kind of use.
_CHECKS: tuple[tuple[str, Callable[[Use], Found]], ...] = (
    (CALL, _ledger),
    (NAME, _ledger),
    (CALL, _extensions),
    (CALL, _programs),
    (CALL, _libraries),
    (CALL, _torch_calls),
    (CALL, _torch_names),
    (NAME, _torch_names),
    (TEXT, _texts_of_cuda),
)


# ---------------------------------------------------------------- workers of a DataLoader


def _forks(program: Program) -> bool:
    """Whether a DataLoader has, or may have, workers."""
    calls = [*program.calls("torch.utils.data.DataLoader"), *program.calls("torch.utils.data.dataloader.DataLoader")]
    numbers = [_argument(call, "num_workers", 5) for call in calls]
    return any(number is not None and not (isinstance(number, ast.Constant) and not number.value) for number in numbers)


def _cuda_in_worker(use: Use) -> Found:
    of_data_set = any(ast.unparse(base).endswith("Dataset") for one in use.classes[-1:] for base in one.bases)
    on_cuda = (use.kind == CALL and use.name == ".cuda") or (use.kind == TEXT and _DEVICE.fullmatch(use.name))
    if of_data_set and on_cuda and _ITEMS & set(use.functions):
        yield "cuda-in-worker", f"{use.classes[-1].name}.{use.functions[-1]}"


# ---------------------------------------------------------------- arguments


def _call(use: Use) -> ast.Call | None:
    return use.node if isinstance(use.node, ast.Call) else None


def _argument(call: ast.Call, name: str, position: int | None) -> ast.expr | None:
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    if position is not None and position < len(call.args) and not any(isinstance(a, ast.Starred) for a in call.args):
        return call.args[position]
    return None


def _is_true(call: ast.Call, name: str) -> bool:
    value = _argument(call, name, None)
    return isinstance(value, ast.Constant) and value.value is True


def _is_empty(node: ast.expr) -> bool:
    return isinstance(node, (ast.List, ast.Tuple)) and not node.elts


def _text_of(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _texts(node: ast.expr | None) -> Iterator[str]:
    """The literal texts of an expression, in its order."""
    for one in ast.walk(node) if node is not None else ():
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value
