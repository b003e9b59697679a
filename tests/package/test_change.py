"""Changes to modules: several as one, and those of a module that is imported later; undoable."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from torchdevice.patches.change import Undo, add_all, make_all, set_all, when_imported


@pytest.fixture
def module_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "imported_late.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "imported_late"
    sys.modules.pop("imported_late", None)


def double(module: ModuleType) -> Callable[[], None]:
    before = module.value
    module.value = before * 2

    def restore() -> None:
        module.value = before

    return restore


def test_later(module_name: str) -> None:
    finders = list(sys.meta_path)
    undo = when_imported(module_name, double)
    assert module_name not in sys.modules
    module = __import__(module_name)
    assert module.value == 2
    assert sys.meta_path == finders
    assert module.__spec__.loader.get_source(module_name) == "value = 1\n"
    undo()
    undo()
    assert module.value == 1


def test_now(module_name: str) -> None:
    module = __import__(module_name)
    undo = when_imported(module_name, double)
    assert module.value == 2
    undo()
    assert module.value == 1


def test_undone_before_the_import(module_name: str) -> None:
    finders = list(sys.meta_path)
    when_imported(module_name, double)()
    assert sys.meta_path == finders
    assert __import__(module_name).value == 1


def test_a_search_alone_changes_nothing(module_name: str) -> None:
    import importlib.util

    undo = when_imported(module_name, double)
    assert importlib.util.find_spec(module_name) is not None
    assert __import__(module_name).value == 2
    undo()


def test_a_module_that_fails_can_be_imported_again(module_name: str, tmp_path: Path) -> None:
    (tmp_path / "imported_late.py").write_text("raise ValueError\n")
    undo = when_imported(module_name, double)
    with pytest.raises(ValueError):  # noqa: PT011
        __import__(module_name)
    (tmp_path / "imported_late.py").write_text("value = 1\nother = 'longer, so that the stale bytecode is not taken'\n")
    assert __import__(module_name).value == 2
    undo()


def test_a_module_that_does_not_exist(tmp_path: Path) -> None:
    undo = when_imported("there_is_no_such_module", double)
    with pytest.raises(ModuleNotFoundError):
        __import__("there_is_no_such_module")
    undo()


def test_names_that_torch_no_longer_has_are_refused() -> None:
    module = ModuleType("torch.moved")
    module.stayed = 1
    message = "^torchdevice changes gone, gone_too of torch.moved, which this torch does not have$"
    with pytest.raises(AttributeError, match=message):
        set_all(module, {"gone": 1, "stayed": 2, "gone_too": 3})
    assert vars(module)["stayed"] == 1
    assert not hasattr(module, "gone")


def test_names_that_a_build_may_lack_are_added_and_removed() -> None:
    module = ModuleType("torch.added")
    undo = add_all(module, {"fresh": 1})
    assert vars(module)["fresh"] == 1
    undo()
    assert not hasattr(module, "fresh")


def test_changes_before_one_that_fails_are_taken_back() -> None:
    class Place:
        first, second = 1, 2

    def changes() -> Iterator[Undo]:
        yield set_all(Place, {"first": 10})
        yield set_all(Place, {"second": 20})
        raise RuntimeError("the third")

    with pytest.raises(RuntimeError, match="^the third$"):
        make_all(changes())
    assert (Place.first, Place.second) == (1, 2)
