"""Which dotted name an expression of a program stands for: `F.relu` is `torch.nn.functional.relu` after its import."""

from __future__ import annotations

import ast
from collections.abc import Iterator


def imported(node: ast.Import | ast.ImportFrom, own: frozenset[str]) -> Iterator[tuple[str, str, str | None]]:
    """The names that a statement binds: (name, what it stands for, what is imported for it).

    Modules of the program itself stand for nothing, and nothing is said of what they are.
    """
    for alias in node.names:
        if isinstance(node, ast.Import):
            first = alias.name.partition(".")[0]
            module = None if first in own else alias.name
            bound = alias.asname or first
            yield bound, (alias.name if alias.asname else first) if module else "", module
        else:
            base = node.module or ""
            is_own = node.level > 0 or base.partition(".")[0] in own
            dotted = "" if is_own else f"{base}.{alias.name}".removesuffix(".*")
            yield alias.asname or alias.name, dotted, dotted or None


class Names:
    """The names of the scopes around a place, the innermost last; an empty text is a name that stands for nothing."""

    def __init__(self) -> None:
        self._scopes: list[dict[str, str]] = [{}]

    def enter(self, hidden: Iterator[str]) -> None:
        self._scopes.append(dict.fromkeys(hidden, ""))

    def leave(self) -> None:
        self._scopes.pop()

    def bind(self, name: str, dotted: str) -> None:
        self._scopes[-1][name] = dotted

    def assign(self, target: ast.expr, value: ast.expr) -> None:
        """`cupy = None` in the handler of a failed import leaves the import's name as it is."""
        if not isinstance(target, ast.Name) or isinstance(value, ast.Constant):
            return
        if isinstance(value, ast.Call):
            made = self.resolve(value.func) or ""
            dotted = made if made.rpartition(".")[2][:1].isupper() else ""  # an object of a class
        else:
            dotted = self.resolve(value) or ""
        self.bind(target.id, dotted)

    def resolve(self, node: ast.expr) -> str | None:
        """The dotted name, or None."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        dotted = next((scope[node.id] for scope in reversed(self._scopes) if node.id in scope), "")
        return ".".join([dotted, *reversed(attributes)]) if dotted else None


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> Iterator[str]:
    arguments = node.args
    for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
        if one is not None:
            yield one.arg
