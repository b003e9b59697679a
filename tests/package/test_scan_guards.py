"""What keeps a program from what it cannot do is no "cannot work"; what looks like it and does not, is."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from torchdevice.scan.analysis import scan
from torchdevice.scan.rules import Verdict

GUARDED = {
    "a handler": """
        try:
            import cupy
        except ImportError:
            cupy = None
        x = cupy.ones(1)
        """,
    "a handler of several": """
        try:
            import cupy
        except (ValueError, ModuleNotFoundError) as error:
            print(error)
        """,
    "else of a handler": """
        try:
            import pynvml
        except ImportError:
            pass
        else:
            pynvml.nvmlInit()
        """,
    "suppress": """
        from contextlib import suppress
        with suppress(ImportError):
            import cupy
        """,
    "a capability": """
        import torch
        if torch.cuda.get_device_capability() >= (9, 0):
            import flash_attn
        """,
    "one of two conditions": """
        import torch
        if torch.cuda.is_available() and fused:
            import apex.optimizers
        """,
    "an elif": """
        import torch
        if a:
            pass
        elif torch.cuda.is_available():
            import cupy
        """,
    "no GPU": """
        import torch
        if not torch.cuda.is_available():
            import cupy
        """,
    "another else": """
        import torch
        if torch.cuda.is_available():
            pass
        else:
            import cupy
        """,
    "ROCm": """
        import torch
        if torch.version.hip:
            import cupy
        """,
    "types": """
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            import cupy
        """,
    "a short circuit": """
        import pynvml
        HAS and pynvml.nvmlInit()
        """,
    "an expression": """
        import pynvml
        x = pynvml.nvmlInit() if asked else None
        """,
    "an early return": """
        import pynvml
        def f():
            if not asked:
                return
            pynvml.nvmlInit()
        """,
    "a function": """
        def f():
            import cupy
            return cupy.ones(1)
        """,
    "a function under a handler": """
        import subprocess
        def _ask():
            return subprocess.check_output(["nvidia-smi"])
        def ask():
            try:
                return _ask()
            except Exception:
                return None
        ask()
        """,
    "an import under a condition": """
        if has_xformers():
            import xformers.ops
        def attend(q, k, v):
            return xformers.ops.memory_efficient_attention(q, k, v)
        """,
    "a test that is skipped": """
        import subprocess, unittest
        class Smi(unittest.TestCase):
            @unittest.skipUnless(HAS, "none")
            def test_it(self):
                subprocess.check_call(["nvidia-smi"])
        """,
    "a file that is skipped": """
        import pytest
        cupy = pytest.importorskip("cupy")
        import cupy.linalg
        """,
    "a case": """
        match way:
            case "gpu":
                import cupy
        """,
}

NOT_GUARDED = {
    "a handler that raises": """
        try:
            import cupy
        except ImportError as error:
            raise ImportError("pip install cupy") from error
        """,
    "a handler that ends": """
        import sys
        try:
            import cupy
        except ImportError:
            sys.exit("pip install cupy")
        """,
    "a handler of something else": """
        try:
            import cupy
        except KeyError:
            pass
        """,
    "finally": """
        try:
            import cupy
        finally:
            done()
        """,
    "a GPU": """
        import torch
        if torch.cuda.is_available():
            import cupy
        """,
    "a GPU, by a name": """
        import torch
        has_gpu = torch.cuda.is_available()
        if has_gpu:
            import cupy
        """,
    "the else of none": """
        import torch
        if not torch.cuda.is_available():
            raise SystemExit("no GPU")
        else:
            import cupy
        """,
    "after an exit for want of a GPU": """
        import torch, pynvml
        def f():
            if not torch.cuda.is_available():
                return
            pynvml.nvmlInit()
        """,
    "main": """
        import pynvml
        if __name__ == "__main__":
            pynvml.nvmlInit()
        """,
    "a loop": """
        import pynvml
        for _ in range(3):
            pynvml.nvmlInit()
        """,
    "a function that is also called without": """
        import subprocess
        def ask():
            return subprocess.check_output(["nvidia-smi"])
        if verbose:
            ask()
        ask()
        """,
    "a function that calls itself": """
        import subprocess
        def ask():
            subprocess.check_output(["nvidia-smi"])
            if again:
                ask()
        """,
    "imported twice": """
        if has_cupy():
            import cupy.fft
        import cupy
        """,
}


def verdicts(folder: Path, text: str) -> set[Verdict]:
    (folder / "a.py").write_text(textwrap.dedent(text))
    report = scan(str(folder / "a.py"))
    assert not report.unread
    return {one.verdict for one in report.findings}


@pytest.mark.parametrize("name", GUARDED)
def test_what_is_guarded_can_work(tmp_path: Path, name: str) -> None:
    assert Verdict.CANNOT not in verdicts(tmp_path, GUARDED[name])


@pytest.mark.parametrize("name", NOT_GUARDED)
def test_what_is_no_guard(tmp_path: Path, name: str) -> None:
    assert Verdict.CANNOT in verdicts(tmp_path, NOT_GUARDED[name])


def test_a_guard_says_what_it_is_and_where(tmp_path: Path) -> None:
    def guard(text: str) -> str | None:
        (tmp_path / "a.py").write_text(textwrap.dedent(text))
        (one,) = [one for one in scan(str(tmp_path / "a.py")).findings if one.rule.verdict is Verdict.CANNOT]
        return one.guard

    assert guard("try:\n  import cupy\nexcept (OSError, ImportError):\n  pass") == (
        "try … except ImportError, OSError, line 1"
    )
    assert guard("\nif x:\n  import cupy") == "a condition, line 2"
    assert guard("def f():\n  import cupy") == "imported in f() only"
    assert guard(GUARDED["a function under a handler"]) == (
        "_ask() is only called under a guard: try … except Exception, line 6"
    )
    assert guard("import cupy") is None


@pytest.mark.parametrize(
    ("text", "is_guarded"),
    [
        ("#ifdef WITH_CUDA\n#include <cuda.h>\n#endif", True),
        ("#if defined(USE_CUDA)\n#if 1\n#endif\n#include <ATen/cuda/CUDAContext.h>\n#endif", True),
        ("#ifdef WITH_CUDA\n#endif\n#include <cuda.h>", False),
        ("#ifndef A_H\n#define A_H\n#include <cuda.h>\n#endif", False),
    ],
)
def test_headers_under_a_condition(tmp_path: Path, text: str, is_guarded: bool) -> None:
    (tmp_path / "a.h").write_text(text)
    (finding,) = scan(str(tmp_path / "a.h")).findings
    assert (finding.guard is not None) is is_guarded


def test_sources_are_as_guarded_as_what_builds_them(tmp_path: Path) -> None:
    (tmp_path / "a.cu").write_text("__global__ void f() {}")
    build = "from torch.utils.cpp_extension import CUDAExtension, CUDA_HOME\n"
    for setup, fits in (
        (f"{build}if CUDA_HOME:\n  CUDAExtension('a', ['a.cu'])", True),
        (f"{build}CUDAExtension('a', ['a.cu'])", False),
        ("", False),
    ):
        (tmp_path / "setup.py").write_text(setup)
        report = scan(str(tmp_path))
        assert report.fits is fits
        (source,) = [one for one in report.findings if one.rule.id == "cuda-source"]
        assert (source.guard is not None) is fits


@pytest.mark.parametrize(
    ("statement", "fits"),
    [
        ("try:\n  from .fast import attend\nexcept ImportError:\n  pass", True),
        ("try:\n  from . import fast\nexcept ImportError:\n  pass", True),
        ("try:\n  import net.fast as fast\nexcept ImportError:\n  pass", True),
        ("def attend():\n  from net.fast import attend", True),
        ("if fast:\n  from net import between", True),
        ("from . import between", False),
        ("from net.fast import attend", False),
        ("import net", False),
    ],
)
def test_a_file_that_is_imported_under_guards_only(tmp_path: Path, statement: str, fits: bool) -> None:
    net = tmp_path / "net"
    net.mkdir()
    (net / "__init__.py").write_text("")
    (net / "fast.py").write_text("import flash_attn\nfrom . import model")  # and round
    (net / "model.py").write_text(statement)
    if "between" in statement:
        (net / "between.py").write_text("import net.fast")
    for target in (tmp_path, net):
        report = scan(str(target))
        assert report.fits is fits
        (finding,) = report.findings
        assert (finding.guard is None) is not fits


def test_what_nobody_imports_may_be_a_program(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import b")
    (tmp_path / "b.py").write_text("import c\nimport cupy")
    (tmp_path / "c.py").write_text("import b")
    assert not scan(str(tmp_path)).fits
    assert not scan(str(tmp_path / "b.py")).fits
