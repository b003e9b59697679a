"""Who imports whom in torchdevice/: no circle, patches that know nothing of each other, and a light `import torch`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import RunPython

ROOT = Path(__file__).resolve().parents[2]

PATCHES, CHANGE, EXTENSION = "torchdevice.patches", "torchdevice.patches.change", "torchdevice._C"
VERSIONS, WARN = "torchdevice.patches.versions", "torchdevice.patches.warn"
SETTINGS, ENGINE, GPU = "torchdevice.settings", "torchdevice.engine", "torchdevice.gpu"
POLICY, LOG, CHECK = "torchdevice.policy", "torchdevice.reports.log", "torchdevice.check.session"


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_name(path): path for path in sorted((ROOT / "torchdevice").rglob("*.py"))}


def imported(node: ast.AST) -> Iterator[str]:
    """The modules of torchdevice that are named in import statements at or below a node, wherever they stand."""
    for statement in ast.walk(node):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names if alias.name.split(".")[0] == "torchdevice")
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, "imports are absolute"
            module = statement.module or ""
            if module.split(".")[0] == "torchdevice":
                names = (f"{module}.{alias.name}" for alias in statement.names)
                yield from (name if name in FILES or name == EXTENSION else module for name in names)


GRAPH = {name: set(imported(ast.parse(path.read_text()))) for name, path in FILES.items()}


def test_no_circle() -> None:
    """Imports inside of functions count too: they must not hide one."""
    TopologicalSorter(GRAPH).prepare()


@pytest.mark.parametrize("name", [name for name in GRAPH if name.startswith(f"{PATCHES}.")])
def test_patches_know_only_the_bottom_and_the_extension(name: str) -> None:
    others = GRAPH[name] - {CHANGE, VERSIONS, WARN, EXTENSION}
    folder = name.rpartition(".")[0]
    if folder != PATCHES:
        others = {other for other in others if not other.startswith(f"{folder}.")}
    assert not others
    assert name not in (CHANGE, WARN) or not GRAPH[name]
    assert name != VERSIONS or GRAPH[name] == {CHANGE}


def test_nobody_imports_the_command_line() -> None:
    importers = {
        name for name, modules in GRAPH.items() if any(f"{one}.".startswith("torchdevice.cli.") for one in modules)
    }
    assert {name for name in importers if not f"{name}.".startswith("torchdevice.cli.")} == {"torchdevice.__main__"}


def test_activation_imports_the_patches_and_the_extension_late() -> None:
    body = ast.parse(FILES["torchdevice.activation"].read_text()).body
    assert [
        module for statement in body if not isinstance(statement, ast.FunctionDef) for module in imported(statement)
    ] == [SETTINGS, GPU]
    assert GRAPH["torchdevice.activation"] == {PATCHES, EXTENSION, SETTINGS, GPU, POLICY, LOG, CHECK}
    assert not GRAPH[SETTINGS]
    assert not GRAPH[ENGINE]
    assert not GRAPH[GPU]


def test_import_torch_loads_activation_settings_and_patches(run_python: RunPython) -> None:
    """Of inductor's and Triton's patches only the switches: the rest comes with inductor and with Triton; redirects and
    probes with those who ask."""
    patches = {name for name in FILES if f"{name}.".startswith(f"{PATCHES}.")}
    folders = tuple(f"{PATCHES}.{folder}." for folder in ("inductor", "triton"))
    early = {f"{PATCHES}.inductor.switch", f"{PATCHES}.triton.switch"}
    late = {name for name in patches - early if name.startswith(folders)} | {f"{PATCHES}.redirect", f"{PATCHES}.probes"}
    loaded = {"torchdevice", "torchdevice.activation", SETTINGS, ENGINE, GPU, EXTENSION} | patches - late
    code = "import torch, sys; print(*sorted(name for name in sys.modules if name.split('.')[0] == 'torchdevice'))"
    assert run_python(code).stdout.split() == sorted(loaded)
    assert run_python(code, TORCHDEVICE="0").stdout.split() == [
        "torchdevice",
        "torchdevice.activation",
        GPU,
        SETTINGS,
    ]


def test_import_torch_loads_nothing_else_for_us(run_python: RunPython) -> None:
    """Compared with an `import torch` that looks for backends, as torch does, and finds none."""
    search = "import torch, sys; from importlib.metadata import entry_points; entry_points(group='torch.backends')\n"
    listing = "print(*sys.modules)"
    without = set(run_python(search + listing, TORCH_DEVICE_BACKEND_AUTOLOAD="0").stdout.split())
    added = set(run_python(search + listing).stdout.split()) - without
    from_the_extension = {"torch._C._cudart", "torch._C._cudnn", "torch._C._nvtx"}
    ours = {"torchdevice", "torchdevice_autoload"}
    assert {name for name in added if name.split(".")[0] not in ours} == from_the_extension


def test_the_function_report_is_not_hidden_by_a_module(run_python: RunPython) -> None:
    run_python(
        """
        import torchdevice.reports.operators, torch, torchdevice
        assert torchdevice.report is torchdevice.reports.operators.report
        assert torchdevice.report().backend == torchdevice._C.native_backend_name()
        assert (torchdevice.Report, torchdevice.Operator, torchdevice.Tally)
        """
    )
