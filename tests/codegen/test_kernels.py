"""The generator of the typed kernels: what it registers, with which device rule, and that it keeps time stamps."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from torchdevice.engine import minor_of

#: Typed kernels by torch's minor version: a change of the rules that was not meant to change them is seen.
COUNTS = {"2.12": 1399, "2.13": 1399, "2.14": 1405, "2.15": 1406}


def run_codegen(codegen: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(codegen / "kernels.py"), str(folder), "4", str(torch.__version__)],
        env={**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


def generate(root: Path, folder: Path) -> str:
    process = run_codegen(root / "codegen", folder)
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def generated(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("kernels")
    generate(root, folder)
    return folder, "".join(path.read_text() for path in sorted(folder.glob("kernels_*.cpp")))


@pytest.mark.parametrize(
    "line",
    [
        'constexpr CheckedArgument addmm_checked[] = {{0, "self"}, {1, "mat1"}, {2, "mat2"}};',
        'constexpr Rule addmm_rule{.mixing = Mixing::kSameDevice, .method = "wrapper_CUDA_addmm", ',
        'constexpr CheckedArgument mm_out_checked[] = {{2, "out"}, {0, "self"}, {1, "mat2"}};',
        'constexpr Rule index_select_rule{.mixing = Mixing::kSameDevice, .method = "wrapper_CUDA__index_select", ',
        "constexpr Rule add_Tensor_rule{.mixing = Mixing::kTensorIterator};",
        "constexpr Rule index_Tensor_rule{.mixing = Mixing::kIndices};",
        "constexpr Rule embedding_rule{.mixing = Mixing::kComposite};",
        "constexpr Rule convolution_rule{.mixing = Mixing::kConvolution, .refused = &convolution_refused};",
        'constexpr RefusedTypes angle_refused{.types = dtype_set({at::kHalf, at::kBFloat16}), .kernel = "angle_cuda"};',
        "constexpr Rule _nested_from_padded_rule{.mixing = Mixing::kAnyDevice};",
        "constexpr Rule mul__Tensor_rule{.mixing = Mixing::kTensorIterator, .writes_elements_only = true};",
        "constexpr Rule resize__rule{.mixing = Mixing::kTensorIterator};",
    ],
)
def test_rules(generated: tuple[Path, str], line: str) -> None:
    assert line in generated[1]


@pytest.mark.parametrize("name", ["view", "empty_memory_format", "select_int", "zeros", "randn", "_to_copy", "detach"])
def test_operators_that_are_not_forwarded(generated: tuple[Path, str], name: str) -> None:
    assert f"registrar.forward<at::_ops::{name}, " not in generated[1]


def test_unchanged_files_keep_their_time_stamps(root: Path, generated: tuple[Path, str]) -> None:
    folder, _ = generated
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    generate(root, folder)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_how_many_kernels_there_are(root: Path, generated: tuple[Path, str]) -> None:
    count = generated[1].count("  registrar.forward")
    assert generate(root, generated[0]) == f"{count} typed kernels in 4 shards\n"
    assert count == COUNTS.get(minor_of(torch.__version__), count)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '    "masked_select",\n',
            '    "maskd_select",\n',
            "HOST_SYNCS names maskd_select, which is no operator of this torch; the nearest is masked_select",
        ),
        (
            '_each("multi_margin_loss ',
            '_each("multy_margin_loss ',
            "WIDER_TYPES_OF_ALL_FORMS names multy_margin_loss, which is no operator of this torch; the nearest is "
            "multi_margin_loss",
        ),
        (
            '"histc": "_histc_cuda"',
            '"Xxxxxxxxxxxxxxxxx": "_histc_cuda"',
            "NONDETERMINISTIC names Xxxxxxxxxxxxxxxxx, which is no operator of this torch",
        ),
    ],
)
def test_rules_name_operators_that_exist(root: Path, tmp_path: Path, old: str, new: str, message: str) -> None:
    codegen = shutil.copytree(root / "codegen", tmp_path / "codegen")
    rules = (codegen / "rules.py").read_text()
    assert rules.count(old) == 1
    (codegen / "rules.py").write_text(rules.replace(old, new))
    process = run_codegen(codegen, tmp_path / "kernels")
    assert process.returncode == 1
    assert process.stderr == f"codegen/rules.py: {message}\n"
