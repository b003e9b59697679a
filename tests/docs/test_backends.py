"""docs/backends.md is true of the interface, and what one backend alone needs stands in its folder."""

from __future__ import annotations

import ast
import io
import re
import tokenize

import pytest

from tests.docs.markdown import ROOT, documents, tracked

HEADER = (ROOT / "csrc" / "native" / "Backend.h").read_text()
(GUIDE,) = (document for document in documents() if document.name == "docs/backends.md")

#: Code outside of csrc/native/mps that may name MPS, and why.
EXCEPTIONS = {
    "csrc/native/CMakeLists.txt": "lists the sources of the backends' folders",
    "csrc/runtime/ErrorTable.inc": "CUDA's errors of NVIDIA's Multi-Process Service, which is called MPS too",
    "CMakeLists.txt": "adds tests/mps_simulator",
    "torchdevice/policy.py": "gives torch's own device of that name another meaning where it does not exist",
    "torchdevice/patches/probes.py": "watches programs that ask torch whether there is that device",
    "torchdevice/operators/route.py": "tells which operators torch has a kernel for there, on any machine",
    "torchdevice/settings.py": "names, for people, the values of TORCHDEVICE_BACKEND and what the settings do over MPS",
}


def class_body(name: str) -> str:
    body = re.search(rf"^class {name} \{{$(.*?)^\}};$", HEADER, re.MULTILINE | re.DOTALL)
    assert body is not None
    return body[1]


def virtuals(name: str) -> list[str]:
    return re.findall(r"\bvirtual [^;{]*?(\w+)\(", class_body(name).replace(f"virtual ~{name}", ""))


@pytest.mark.parametrize("name", ["NativeBackend", "NativeEvent"])
def test_the_guide_names_every_virtual_and_no_other(name: str) -> None:
    section = next(one for one in GUIDE.sections() if f"`{name}`" in one.partition("\n")[0])
    named = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert sorted(named) == sorted(virtuals(name))


def test_the_guide_says_which_members_are_optional() -> None:
    pure = re.findall(r"\bvirtual [^;{]*?(\w+)\([^;{]*= 0;", class_body("NativeBackend"))
    section = next(one for one in GUIDE.sections() if "`NativeBackend`" in one.partition("\n")[0])
    required = re.findall(r"^\| `(\w+)` \| required \|", section, re.MULTILINE)
    assert sorted(required) == sorted(pure)


def test_the_guide_names_every_field_of_an_entry() -> None:
    entry = re.search(r"struct Entry \{(.*?)\};", HEADER, re.DOTALL)
    assert entry is not None
    fields = re.findall(r"(?:\(\*)?(\w+)\)?(?:\(\))?;", entry[1])
    section = next(one for one in GUIDE.sections() if "`RegisteredBackend`" in one.partition("\n")[0])
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == sorted(fields)


def without_comments(name: str, text: str) -> str:
    """The code alone: no comments, and no docstrings of Python."""
    if name.endswith((".py", ".pyi")):
        return "\n".join(python_tokens(text))
    if name.endswith((".txt", ".cmake")):
        return re.sub(r"#.*", "", text)
    strings_or_comments = r'("(?:\\.|[^"\\\n])*")|//[^\n]*|/\*.*?\*/'
    return re.sub(strings_or_comments, lambda match: match[1] or "", text, flags=re.DOTALL)


def python_tokens(text: str) -> list[str]:
    """Its tokens, without comments and docstrings."""
    docstrings = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            docstrings.add((body[0].lineno, body[0].col_offset))
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [
        token.string
        for token in tokens
        if token.type != tokenize.COMMENT and not (token.type == tokenize.STRING and token.start in docstrings)
    ]


def code_that_names_mps() -> set[str]:
    """Files, of those that are built or installed."""
    roots = ("csrc/", "torchdevice/", "codegen/", "cmake/", "CMakeLists.txt", "setup.py", "torchdevice_")
    kinds = (".h", ".cpp", ".inc", ".py", ".pyi", ".txt", ".cmake")
    return {
        name
        for name in tracked()
        if name.startswith(roots) and name.endswith(kinds) and not name.startswith("csrc/native/mps/")
        # "dumps" is another word.
        if re.search(r"(?<![A-Za-z])mps|Mps|MPS", without_comments(name, (ROOT / name).read_text()))
    }


def test_nothing_outside_of_its_folder_knows_mps() -> None:
    assert code_that_names_mps() - set(EXCEPTIONS) == set()


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("x.h", 'f("//", 1);  // mps\n/* mps\n */ g();', 'f("//", 1);  \n g();'),
        ("x.cmake", "set(a b)  # mps", "set(a b)  "),
        ("x.py", '"""mps"""\nx = 1  # mps\n', "\n\nx\n=\n1\n\n\n"),
    ],
)
def test_comments_are_left_out(name: str, text: str, code: str) -> None:
    assert without_comments(name, text) == code
