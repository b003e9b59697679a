"""Reads one Python program: what it imports, names and calls, and what guards each of these."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from torchdevice.scan import guards
from torchdevice.scan.guards import Guard
from torchdevice.scan.names import Names, imported, parameters
from torchdevice.scan.own import Own

IMPORT, NAME, CALL, TEXT, OWN_IMPORT, OWN_CALL = "import", "name", "call", "text", "own import", "own call"

_Function = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Use:
    """Something that a program uses at a place.

    `name` is dotted. ".cuda" is an attribute of what is not known. Of a text it is the text. An own import is one of
    the program's modules, with its leading dots; an own call one of a function that it may define, by its last name.
    """

    kind: str
    name: str
    node: ast.expr | ast.stmt
    guards: tuple[Guard, ...]
    contexts: tuple[str, ...]  #: calls of the `with` statements around it
    classes: tuple[ast.ClassDef, ...]  #: around it
    functions: tuple[str, ...]  #: around it

    @property
    def guard(self) -> str | None:
        """The innermost that holds; an import inside of a function is one of those."""
        is_import = self.kind in (IMPORT, OWN_IMPORT)
        text = next((guard.text for guard in reversed(self.guards) if guard.holds_for(is_import)), None)
        if text is None and is_import and self.functions:
            return f"imported in {self.functions[-1]}() only"
        return text


@dataclass
class Program:
    """All uses of a program, in its order."""

    uses: list[Use] = field(default_factory=list)

    def guard(self, use: Use) -> str | None:
        """Its own, that of the import that it needs, or that of all calls of the function that it is in."""
        return use.guard or self._guard_of_import(use) or self._guard_of_calls(use.functions, frozenset())

    def _guard_of_import(self, use: Use) -> str | None:
        if use.kind not in (NAME, CALL):
            return None
        found = self._imports.get(use.name.partition(".")[0], [])
        return None if None in found else next(iter(found), None)

    def _guard_of_calls(self, functions: tuple[str, ...], seen: frozenset[str]) -> str | None:
        """Of a function that the program calls by name, and nowhere without a guard."""
        for function in set(functions) - seen:
            calls = self._own_calls.get(function, [])
            found = [use.guard or self._guard_of_calls(use.functions, seen | {function}) for use in calls]
            if found and None not in found:
                return f"{function}() is only called under a guard: {found[0]}"
        return None

    @cached_property
    def _imports(self) -> dict[str, list[str | None]]:
        found: defaultdict[str, list[str | None]] = defaultdict(list)
        for use in self.uses:
            if use.kind == IMPORT:
                found[use.name.partition(".")[0]].append(use.guard)
        return found

    @cached_property
    def _own_calls(self) -> dict[str, list[Use]]:
        found: defaultdict[str, list[Use]] = defaultdict(list)
        for use in self.uses:
            if use.kind == OWN_CALL and use.name not in use.functions:  # recursion is no reason to be called
                found[use.name].append(use)
        return found

    def calls(self, name: str) -> Iterator[ast.Call]:
        for use in self.uses:
            if use.kind == CALL and use.name == name and isinstance(use.node, ast.Call):
                yield use.node


def read(text: str, own: Own) -> Program:
    """The uses of a program; `own` are the modules of its own.

    Raises:
        SyntaxError, ValueError, RecursionError: it is no Python of this version.
    """
    reader = _Reader(own)
    tree = ast.parse(text)
    reader.bind_imports(tree)
    reader.visit(tree)
    return reader.program


class _Reader(ast.NodeVisitor):
    def __init__(self, own: Own) -> None:
        self.program = Program()
        self._own = own
        self._names = Names()
        self._guards: list[Guard] = []
        self._contexts: list[str] = []
        self._classes: list[ast.ClassDef] = []
        self._functions: list[str] = []

    def bind_imports(self, node: ast.AST) -> None:
        """Those of the module, before its functions are read: these run later."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.Import, ast.ImportFrom)):
                for name, dotted, _ in imported(child, self._own):
                    self._names.bind(name, dotted)
            elif not isinstance(child, (*_Function, ast.ClassDef, ast.expr)):
                self.bind_imports(child)

    def _use(self, kind: str, name: str, node: ast.expr | ast.stmt) -> None:
        around = (tuple(self._guards), tuple(self._contexts), tuple(self._classes), tuple(self._functions))
        self.program.uses.append(Use(kind, name, node, *around))

    # ---------------------------------------------------------------- statements

    def generic_visit(self, node: ast.AST) -> None:
        for _, value in ast.iter_fields(node):
            if isinstance(value, list):
                self._visit_all(value)
            elif isinstance(value, ast.AST):
                self.visit(value)

    def _visit_all(self, nodes: list[ast.AST], guard: Guard | None = None) -> None:
        """In their order: an early return guards those that follow."""
        before = len(self._guards)
        if guard is not None:
            self._guards.append(guard)
        for node in nodes:
            if isinstance(node, ast.AST):
                self.visit(node)
            if isinstance(node, ast.stmt):
                later = guards.after(node, self._names.resolve)
                if later is not None:
                    self._guards.append(later)
        del self._guards[before:]

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for name, dotted, module in imported(node, self._own):
            self._names.bind(name, dotted)
            self._use(IMPORT if dotted else OWN_IMPORT, module, node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            self._names.assign(target, node.value)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring is no text that is used
            self.generic_visit(node)

    def visit_If(self, node: ast.If | ast.IfExp) -> None:
        self.visit(node.test)
        outcome = guards.outcome(node.test, self._names.resolve)
        guard = Guard(f"a condition, line {node.lineno}") if outcome is None else None
        for branch, runs in ((node.body, outcome is not False), (node.orelse, outcome is not True)):
            if runs:
                self._visit_all([*branch] if isinstance(branch, list) else [branch], guard)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self.visit(node.values[0])
        self._visit_all([*node.values[1:]], Guard(f"a condition, line {node.lineno}"))

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        for case in node.cases:
            self._visit_all([*case.body], Guard(f"a condition, line {node.lineno}"))

    def visit_Try(self, node: ast.Try) -> None:
        guard = guards.of_try(node)
        self._visit_all([*node.body], guard)
        for handler in node.handlers:
            self._visit_all([*handler.body], Guard(f"in an except clause, line {handler.lineno}"))
        self._visit_all([*node.orelse], guard)
        self._visit_all([*node.finalbody])

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        entered = []
        for item in node.items:
            self.visit(item)
            call = item.context_expr
            entered.append((self._names.resolve(call.func) or "") if isinstance(call, ast.Call) else "")
        with self._within(self._contexts, *entered):
            self._visit_all([*node.body], guards.of_with(node, self._names.resolve))

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._visit_all([*node.decorator_list, node.args])
        self._names.bind(node.name, "")
        self._names.enter(parameters(node))
        with self._within(self._functions, node.name):
            self._visit_all([*node.body], guards.of_decorators(node))
        self._names.leave()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all([*node.decorator_list, *node.bases, *node.keywords])
        self._names.bind(node.name, "")
        with self._within(self._classes, node):
            self._visit_all([*node.body], guards.of_decorators(node))

    @contextmanager
    def _within(self, around: list[ast.ClassDef] | list[str], *entered: str | ast.ClassDef) -> Iterator[None]:
        before = len(around)
        around.extend(entered)  # type: ignore[arg-type]
        yield
        del around[before:]

    # ---------------------------------------------------------------- expressions

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._names.enter(parameters(node))
        self.generic_visit(node)
        self._names.leave()

    def visit_Call(self, node: ast.Call) -> None:
        name = self._names.resolve(node.func)
        if name is not None:
            self._use(CALL, name, node)
        elif isinstance(node.func, ast.Attribute):
            self._use(CALL, f".{node.func.attr}", node)
            self._use(OWN_CALL, node.func.attr, node)
            self.visit(node.func.value)
        elif isinstance(node.func, ast.Name):
            self._use(OWN_CALL, node.func.id, node)
        self._visit_all([*node.args, *node.keywords])

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self._names.resolve(node)
        if name is not None:
            self._use(NAME, name, node)
        else:
            self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        name = self._names.resolve(node)
        if name is not None and isinstance(node.ctx, ast.Load):
            self._use(NAME, name, node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                self.visit(value)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self._use(TEXT, node.value, node)

    # ---------------------------------------------------------------- nodes that are read as others are

    visit_ImportFrom = visit_Import  # noqa: N815
    visit_IfExp = visit_If  # noqa: N815
    visit_TryStar = visit_Try  # noqa: N815
    visit_AsyncWith = visit_With  # noqa: N815
    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815
