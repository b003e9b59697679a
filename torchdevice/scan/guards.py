"""What keeps a program from what it cannot do: conditions, handlers, functions that need not be called."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass

#: What a missing or broken module raises, and what contains it.
_IMPORT_ERRORS = {"ImportError", "ModuleNotFoundError", "OSError", "Exception", "BaseException"}
_EXITS = {"exit", "quit", "sys.exit", "os._exit"}
_SKIPS = {"pytest.skip", "pytest.importorskip"}
#: Answered with yes here, so that a condition on them is none.
_TRUE = {
    "torch.cuda.is_available",
    "torch.cuda.device_count",
    "torch.cuda.is_initialized",
    "torch.backends.cuda.is_built",
}

#: The dotted name that an expression stands for, if it is one.
Resolve = Callable[[ast.expr], "str | None"]


@dataclass(frozen=True)
class Guard:
    """One reason for which code may not run, or may fail without harm."""

    text: str
    catches: frozenset[str] | None = None  #: classes of exceptions; None where the guard is no handler

    def holds_for(self, is_import: bool) -> bool:
        """A handler for other errors is none for an import."""
        return self.catches is None or not is_import or bool(self.catches & _IMPORT_ERRORS)


def outcome(test: ast.expr, resolve: Resolve) -> bool | None:
    """What a condition says here, as far as can be seen."""
    if isinstance(test, ast.Constant):
        return bool(test.value)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = outcome(test.operand, resolve)
        return None if inner is None else not inner
    if isinstance(test, ast.BoolOp):
        outcomes = [outcome(value, resolve) for value in test.values]
        decisive = isinstance(test.op, ast.Or)
        if decisive in outcomes:
            return decisive
        return None if None in outcomes else not decisive
    if isinstance(test, ast.Compare) and _is_main(test):
        return True
    name = resolve(test.func if isinstance(test, ast.Call) else test)
    if name in ("typing.TYPE_CHECKING", "torch.version.hip"):
        return False
    return True if name in _TRUE or (name == "torch.version.cuda") else None


def _is_main(test: ast.Compare) -> bool:
    return isinstance(test.left, ast.Name) and test.left.id == "__name__"


def of_try(node: ast.Try) -> Guard | None:
    """The handlers that let the program go on; None where all of them end it."""
    caught: set[str] = set()
    for handler in node.handlers:
        if not _ends(handler.body):
            caught |= _classes(handler.type)
    if not caught:
        return None
    return Guard(f"try … except {_listed(caught)}, line {node.lineno}", frozenset(caught))


def of_with(node: ast.With | ast.AsyncWith, resolve: Resolve) -> Guard | None:
    """`contextlib.suppress`."""
    for item in node.items:
        call = item.context_expr
        if isinstance(call, ast.Call) and resolve(call.func) == "contextlib.suppress":
            caught = {name for argument in call.args for name in _classes(argument)}
            return Guard(f"suppress({_listed(caught)}), line {node.lineno}", frozenset(caught))
    return None


def _listed(caught: Iterable[str]) -> str:
    return ", ".join(sorted(caught))


def _classes(node: ast.expr | None) -> set[str]:
    if node is None:
        return {"BaseException"}
    if isinstance(node, ast.Tuple):
        return {name for one in node.elts for name in _classes(one)}
    return {ast.unparse(node).rpartition(".")[2]}


def _ends(body: list[ast.stmt]) -> bool:
    """Whether the last of some statements ends the program, or raises."""
    last = body[-1]
    return isinstance(last, ast.Raise) or (
        isinstance(last, ast.Expr) and isinstance(last.value, ast.Call) and ast.unparse(last.value.func) in _EXITS
    )


def after(statement: ast.stmt, resolve: Resolve) -> Guard | None:
    """What a statement is to those that follow it: an early return, or a test that is skipped."""
    if isinstance(statement, (ast.Expr, ast.Assign)) and isinstance(statement.value, ast.Call):
        name = resolve(statement.value.func)
        return Guard(f"{name}, line {statement.lineno}") if name in _SKIPS else None
    if not isinstance(statement, ast.If) or statement.orelse or outcome(statement.test, resolve) is False:
        return None
    last = statement.body[-1]
    returns = isinstance(last, (ast.Return, ast.Continue, ast.Break))
    skips = isinstance(last, ast.Expr) and isinstance(last.value, ast.Call) and resolve(last.value.func) in _SKIPS
    return Guard(f"a condition that leaves before, line {statement.lineno}") if returns or skips else None


def of_decorators(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Guard | None:
    """Tests that are skipped where something is missing."""
    for decorator in node.decorator_list:
        name = ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator).lower()
        if "skip" in name or "require" in name:
            return Guard(f"@{ast.unparse(decorator).partition('(')[0]}, line {decorator.lineno}")
    return None
