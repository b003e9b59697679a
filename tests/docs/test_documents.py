"""The documents name files, commands, Notes and links that exist, and lists that the code does not contradict."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, Document, documents, tracked
from torchdevice.cli.doctor.claims import CLAIMS

every_document = pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)

#: What a path may be written relative to, apart from the document's own folder.
BASES = ("", "csrc/", "torchdevice/")
#: The folders that a build or a run makes.
MADE = ("build", "out", "dist")
#: Files of torch and of Python that the documents name.
FOREIGN = {"native_functions.yaml", "DistributionTemplates.h", "Dropout.cu", "Python.h"}
SOURCE = re.compile(r"[\w*>]\.(h|cpp|inc|py|pyi|toml|cmake|md|txt|svg|yml|yaml)$")

PATH = re.compile(r"[\w.*{},/<>-]+")
NAMED_IN_SOURCE = re.compile(
    r"(?<![\w./])(?:csrc|torchdevice|tests|docs|conformance|codegen|benchmarks|wheels|examples|cmake|\.ci)"
    r"/[\w./-]+\.(?:py|cpp|h|md|toml|cmake|svg)\b"
)
NOTE = re.compile(r"Note \[(\w[^\]{]+)\]")
DEFINED_NOTE = re.compile(r"^\s*(?:///?|#) Note \[([^\]]+)\]$", re.MULTILINE)
COUNT = re.compile(
    r"\b\d[\d,]* (?:ATen )?(?:tests?|samples?|operators?|patches|claims|passed|failed|skipped|kernels)\b"
)
DATE = re.compile(r"\b20\d\d-\d\d-\d\d\b")


@cache
def folders() -> set[str]:
    return {str(parent) for name in tracked() for parent in Path(name).parents}


def alternatives(text: str) -> list[str]:
    """`a/{b,c}.h` as a/b.h and a/c.h."""
    braces = re.search(r"\{([^{}]*)\}", text)
    if braces is None:
        return [text]
    start, end = braces.span()
    return [one for part in braces[1].split(",") for one in alternatives(text[:start] + part + text[end:])]


def looks_like_a_path(document: Document, span: str) -> bool:
    if PATH.fullmatch(span) is None or span in FOREIGN:
        return False
    first, slash, _ = span.partition("/")
    if not slash:
        return SOURCE.search(span) is not None
    if first in ("torch", *MADE):
        return False
    bases = [*BASES, f"{document.folder.relative_to(ROOT)}/"]
    return SOURCE.search(span) is not None or any(f"{base}{first}".removeprefix("./") in folders() for base in bases)


def exists(document: Document, path: str) -> bool:
    path = re.sub(r"<\w+>", "*", path).rstrip("/")  # csrc/native/<name>/
    own = str(document.folder.relative_to(ROOT)).removeprefix(".")
    names = [f"{base}{path}" for base in BASES] + [f"{own}/{path}".lstrip("/")]
    if "/" not in path:
        names.append(f"*/{path}")  # a name alone is a file somewhere
    return any(fnmatchcase(one, name) for name in names for one in (*tracked(), *folders()))


@every_document
def test_files_that_are_named_exist(document: Document) -> None:
    paths = [one for span in document.spans() if looks_like_a_path(document, span) for one in alternatives(span)]
    assert [path for path in paths if not exists(document, path)] == []


def test_files_that_sources_name_exist() -> None:
    missing = []
    for name in tracked():
        if SOURCE.search(name) and not name.endswith(".md"):
            folder = Path(name).parent
            paths = NAMED_IN_SOURCE.findall((ROOT / name).read_text())
            missing += [f"{name}: {path}" for path in paths if not {path, str(folder / path)} & set(tracked())]
    assert missing == []


@every_document
def test_links_lead_somewhere(document: Document) -> None:
    for link in document.links():
        if not link.startswith(("http://", "https://")):
            path, _, heading = link.partition("#")
            target = (document.folder / path).resolve() if path else ROOT / document.name
            assert target.exists(), link
            if heading:
                titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
                assert heading in [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles], link


@every_document
def test_commands_that_are_named_exist(document: Document) -> None:
    targets = set(re.findall(r"^([\w/-]+)(?: [\w/-]+)*:(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in document.commands():
        for target in re.findall(r"(?:^|\s)make ([a-z][\w/-]*)", command):
            assert target in targets, command
        for module in re.findall(r"\bpython(?:3(?:\.\d+)?)? -m ([\w.]+)", command):
            assert importlib.util.find_spec(module) is not None, command


def test_commands_of_torchdevice_exist() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "torchdevice", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for document in documents():
        for command in document.commands():
            for name in re.findall(r"(?:^|-m )torchdevice ([a-z]+)\b", command):
                assert name in listed, (document.name, command)


def test_notes_that_are_named_exist_once() -> None:
    texts = {name: (ROOT / name).read_text() for name in tracked() if SOURCE.search(name)}
    defined = [note for text in texts.values() for note in DEFINED_NOTE.findall(text)]
    assert sorted(set(defined)) == sorted(defined)
    named = {(name, note) for name, text in texts.items() for note in NOTE.findall(text)}
    assert sorted((name, note) for name, note in named if note not in defined) == []


def test_the_claims_of_the_doctor_are_the_rows_of_platforms() -> None:
    """The names, in the order in which they are checked."""
    text = (ROOT / "docs" / "platforms.md").read_text()
    table = re.search(r"^## What the doctor checks$(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert table is not None
    rows = re.findall(r"^\| (.*?) \|", table[1], re.MULTILINE)[1:]  # without the heads of the columns
    assert [row.replace("`", "") for row in rows] == list(CLAIMS)


def test_what_the_code_writes_is_up_to_date() -> None:
    process = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "documents.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, f"run `python .ci/documents.py`\n{process.stdout}{process.stderr}"


@every_document
def test_counts_say_when_they_were_taken(document: Document) -> None:
    for section in document.sections():
        counts = COUNT.findall(section)
        assert not counts or DATE.search(section), f"{document.name}: {counts} without a date in the section"


def test_each_room_of_csrc_has_a_readme_that_the_architecture_links() -> None:
    rooms = {str(Path(name).parent) for name in tracked() if name.startswith("csrc/")}
    (architecture,) = (document for document in documents() if document.name == "docs/architecture.md")
    linked = {link.removeprefix("../") for link in architecture.links() if link.endswith("/README.md")}
    assert linked == {f"{room}/README.md" for room in rooms}
