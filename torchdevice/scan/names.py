"""Which dotted name an expression of a program stands for: `F.relu` is `torch.nn.functional.relu` after its import."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from torchdevice.scan.own import Own


def imported(node: ast.Import | ast.ImportFrom, own: Own) -> Iterator[tuple[str, str, str]]:
    """The names that a statement binds: (name, what it stands for, what is imported for it).

    Modules of the program itself stand for nothing; what is imported of them has the dots of its import.
    """
    for alias in node.names:
        if isinstance(node, ast.Import):
            first = alias.name.partition(".")[0]
            bound = alias.asname or first
            yield bound, "" if own.has(alias.name) else alias.name if alias.asname else first, alias.name
        else:
            base = node.module or ""
            dotted = f"{base}.{alias.name}".removesuffix(".*").lstrip(".")
            known = "" if node.level > 0 or own.has(dotted) else dotted
            yield alias.asname or alias.name, known, "." * node.level + dotted


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
            # An object of a class, or an answer that is known.
            dotted = made if made.rpartition(".")[2][:1].isupper() or made == "torch.cuda.is_available" else ""
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
