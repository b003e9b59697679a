"""The site that `make docs` builds, without building it: navigation, commands, links, the errors in its FAQ."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.docs.fields import documented
from tests.docs.markdown import ROOT, documents, tracked
from torchdevice.cli import make_parser

#: Errors of torch and of Python themselves that the FAQ explains.
FOREIGN = {
    "Cannot re-initialize CUDA in forked subprocess",
    "nvidia-ml-py does not seem to be installed or it can't be imported",
    "FileNotFoundError: 'nvidia-smi'",
}


def load_website() -> ModuleType:
    spec = importlib.util.spec_from_file_location("website", ROOT / ".ci" / "website.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WEBSITE = load_website()
SETTINGS: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text())


def pages_of(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for one in nav.values() if isinstance(nav, dict) else nav:
            yield from pages_of(one)


def test_the_navigation_names_every_page_once() -> None:
    written = {name.removeprefix("docs/") for name in tracked() if name.startswith("docs/") and name.endswith(".md")}
    made = {*WEBSITE.ELSEWHERE, WEBSITE.COMMANDS}
    assert written & made == set()
    assert sorted(pages_of(SETTINGS["nav"])) == sorted(written | made)


def test_there_is_a_page_for_each_task() -> None:
    tasks = next(one["Tasks"] for one in SETTINGS["nav"] if "Tasks" in one)
    titles = [title for one in tasks for title in one]
    assert titles[:3] == ["I have a CUDA repository and a Mac", "Test GPU code in CI", "Several GPUs"]


def test_the_site_is_strict() -> None:
    assert SETTINGS["strict"] is True
    assert set(SETTINGS["validation"].values()) == {"warn"}


def test_the_reference_has_every_command_with_its_options() -> None:
    text = WEBSITE.commands()
    parser = make_parser("torchdevice")
    found = WEBSITE.subcommands(parser)
    assert {"info", "run", "scan", "why", "catalogue", "gaps", "suite", "doctor", "settings"} <= set(found)
    for name, one in found.items():
        assert f"## torchdevice {name}\n" in text
        for action in one._actions:
            assert all(option in text for option in action.option_strings)
        for inner in WEBSITE.subcommands(one):
            assert f"### torchdevice {name} {inner}\n" in text


COMMANDS = WEBSITE.subcommands(make_parser("torchdevice"))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_and_says_what_the_exit_status_is(name: str) -> None:
    text = COMMANDS[name].format_help()
    assert f"  torchdevice {name} " in text
    assert "\nexit status: " in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_gives_data(name: str) -> None:
    inner = WEBSITE.subcommands(COMMANDS[name])
    given = {one: action.format_help() for one, action in (inner or {name: COMMANDS[name]}).items()}
    assert [one for one, text in given.items() if "--json" not in text and "JSON" not in text] == []
    sections = [f"{name} {one}" for one in ("status", "list")] if inner else [name]
    for section in sections:
        assert documented(section)


@pytest.mark.parametrize(
    ("page", "before", "after"),
    [
        ("index.md", "[a](docs/scan.md#rules)", "[a](scan.md#rules)"),
        ("index.md", "[`l`](conformance/ledger.toml)", "`l`"),
        ("scan.md", "[a](../README.md#settings)", "[a](index.md#settings)"),
        ("tasks/several-gpus.md", "[a](../distributed.md)", "[a](../distributed.md)"),
        ("tasks/several-gpus.md", "[a](../../CHANGELOG.md)", "[a](../changelog.md)"),
        (
            "run.md",
            "![p](images/x.png) [h](https://x) [i](#j)",
            "![p](images/x.png) [h](https://x) [i](#j)",
        ),
        ("run.md", "```\n[a](../x.py)\n```", "```\n[a](../x.py)\n```"),
    ],
)
def test_links_are_those_of_the_site(page: str, before: str, after: str) -> None:
    assert WEBSITE.relinked(before, page) == after


def test_no_link_leads_out_of_the_site() -> None:
    inside = set(pages_of(SETTINGS["nav"]))
    homes = {source: page for page, source in WEBSITE.ELSEWHERE.items()}
    for document in documents():
        page = homes.get(document.name) or document.name.removeprefix("docs/")
        if page in inside:
            for target in re.findall(r"(?<!!)\[[^\]]+\]\(([^)\s#]+)", WEBSITE.relinked(document.prose(), page)):
                place = Path(page).parent / target
                assert target.startswith("http") or str(Path(*_normal(place.parts))) in inside, (page, target)


def _normal(parts: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    for part in parts:
        if part == "..":
            found.pop()
        else:
            found.append(part)
    return found


def test_the_errors_of_the_faq_are_raised() -> None:
    faq = (ROOT / "docs" / "faq.md").read_text()
    errors = re.findall(r"^### (.*)$", faq.partition("\n## Questions")[0], re.MULTILINE)
    code = [
        name
        for name in tracked()
        if name.startswith(("csrc/", "torchdevice/")) and name.endswith((".cpp", ".inc", ".py"))
    ]
    # Texts that are written in parts, on several lines and with what is filled in.
    texts = re.sub(r'"\s*\n\s*f?"', "", "\n".join((ROOT / name).read_text() for name in code))
    for error in set(errors) - FOREIGN:
        parts = re.split(r" for an NVIDIA GPU, but |^AcceleratorError: CUDA error: ", error)
        assert all(part in texts for part in parts), error
    assert len(errors) >= 10
