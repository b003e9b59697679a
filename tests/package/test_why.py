"""`torchdevice why`: how an operator travels, told by the dispatcher and by the rules of the code generator."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from tests.docs.fields import assert_documented
from torchdevice import _C
from torchdevice.cli.why import why
from torchdevice.operators import known
from torchdevice.operators.route import HOW, Route, _all_names, _route, dtype_name, resolve, routes

ROOT = Path(__file__).resolve().parents[2]

over_cpu = pytest.mark.skipif(_C.native_backend_name() != "cpu", reason="halves are MPS's matter")


def one(name: str, dtype: str | None = None) -> Route:
    (route,) = routes(name, dtype)
    return route


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("aten::mm", "typed"),
        ("aten::add.Tensor", "typed"),
        ("aten::_softmax", "hand-written"),
        ("aten::view", "hand-written"),
        ("aten::cudnn_convolution", "hand-written"),
        ("aten::_thnn_fused_lstm_cell", "hand-written"),
        ("aten::linalg_eigh", "decomposed"),
        ("aten::matmul", "decomposed"),
        ("aten::ones", "composite"),
        ("quantized::add", "boxed"),
    ],
)
def test_how(name: str, how: str) -> None:
    assert one(name).how == how


def test_every_operator_has_an_answer() -> None:
    """All that can be forwarded is typed or hand-written; what has no kernel has none in torch's CPU build either."""
    found = [_route(name, "float16") for name in sorted(_all_names())]
    assert {route.how for route in found} == set(HOW)
    assert all(route.schema for route in found if route.how != "none")
    for route in found:
        if route.how == "none":
            assert not torch._C._dispatch_has_kernel_for_dispatch_key(route.name, "CPU")


def test_what_is_called_hand_written_is_registered_in_csrc_aten() -> None:
    """As far as the registrations name the operator."""
    texts = "".join(path.read_text() for path in (ROOT / "csrc/aten").glob("*.cpp"))
    named = set(re.findall(r"registrar\.implement<at::_ops::(\w+)>", texts))
    by_struct = {name.removeprefix("aten::").replace(".", "_"): name for name in _all_names() if "aten::" in name}
    wrong = {
        by_struct[struct]
        for struct in named & by_struct.keys()
        if "torchdevice" in torch._C._dispatch_dump(by_struct[struct]).partition("CUDA: ")[2].partition("\n")[0]
        and _route(by_struct[struct], None).how != "hand-written"
    }
    assert wrong == set()


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("aten::mm", ["same device", "refused types", "autocast"]),
        ("aten::add.Tensor", ["tensor iterator"]),
        ("aten::index.Tensor", ["indices", "host sync"]),
        ("aten::masked_fill_.Scalar", ["mask"]),
        ("aten::convolution", ["convolution", "refused types", "autocast"]),
        ("aten::histc", ["same device", "host sync", "nondeterministic", "refused types"]),
        ("aten::histogram.bin_ct", ["tensor iterator", "absent"]),
        ("aten::_int_mm", ["same device", "sizes"]),
        ("aten::_fft_r2c", ["same device", "half FFT"]),
        ("aten::native_layer_norm", ["same device", "one type", "autocast"]),
        ("aten::remainder.Tensor", ["tensor iterator", "integer division"]),
        ("aten::embedding", ["composite", "bad index"]),
        ("aten::_linalg_svd", ["same device", "driver"]),
    ],
)
def test_rules(name: str, rules: list[str]) -> None:
    assert [rule.name for rule in one(name).rules] == rules


def test_the_device_rules_are_those_of_the_generator() -> None:
    """codegen asks torchgen, this reads the yaml as text."""
    import sys

    pytest.importorskip("yaml")
    sys.path.insert(0, str(ROOT / "codegen"))
    import torchgen
    from kernels import select_kernels
    from operators import Operators

    operators = Operators.from_yaml(Path(torchgen.__file__).parent / "packaged/ATen/native")
    words = {
        "kSameDevice": "same device",
        "kTensorIterator": "tensor iterator",
        "kIndices": "indices",
        "kMask": "mask",
        "kConvolution": "convolution",
        "kComposite": "composite",
        "kAnyDevice": "any device",
    }
    expected = {
        f"aten::{kernel.function.func.name}": words[kernel.mixing.value] for kernel in select_kernels(operators)
    }
    told = {name: _route(name, None) for name in expected}
    assert {name: route.how for name, route in told.items() if route.how != "typed"} == {}
    wrong = {
        name: (route.rules[0].name, expected[name])
        for name, route in told.items()
        if route.rules[0].name != expected[name]
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("torch.linalg.eigh", ["aten::linalg_eigh"]),
        ("linalg.eigh", ["aten::linalg_eigh"]),
        ("fft.rfft", ["aten::fft_rfft"]),
        ("torch.nn.functional.conv2d", ["aten::conv2d", "aten::conv2d.padding"]),
        ("torch.ops.aten.mul.Tensor", ["aten::mul.Tensor"]),
        ("quantized.add", ["quantized::add", "quantized::add.Scalar", "quantized::add.Scalar2"]),
        ("mm", ["aten::mm", "aten::mm.dtype"]),
        ("aten::mm.out", ["aten::mm.out"]),
    ],
)
def test_names(text: str, names: list[str]) -> None:
    assert resolve(text) == names


@over_cpu
def test_half_precision() -> None:
    def note(name: str, dtype: str) -> str | None:
        return one(name, dtype).dtype_note

    assert note("aten::add.Tensor", "half") == "native: the kernel computes in float16"
    assert note("aten::native_layer_norm", "bfloat16") == (
        "in float32, rounded once to the half type (on every processor); results 1, 2 stay float32, as on a GPU"
    )
    assert note("aten::std.correction", "float16") == "in float32, rounded once to the half type (on every processor)"
    described = _C.half_rule()
    if described.startswith("products"):
        way, units = ("native: the kernel computes in bfloat16", "has units for it")
        if "bfloat16 native" not in described:
            way, units = ("in float32, rounded once to the half type", "has no units for it")
        assert note("aten::mm", "bfloat16") == f"{way} (this processor {units})"
    assert note("aten::matmul", "float16") == "each operator that it is composed of decides for itself"
    wider = "only CUDA's kernels know the type: it is computed in a wider one, and rounded"
    assert note("aten::avg_pool3d", "float16") == wider
    assert note("aten::sin", "complex32") == wider
    assert note("aten::mm", "float64") == "as the native backend's kernel has it"


@pytest.mark.parametrize(
    ("name", "dtype", "refused"),
    [
        ("aten::mm", "int32", "CUDA's kernel, addmm_cuda, has no int32"),
        ("aten::addmm_", "uint8", "CUDA's kernel, addmm_cuda, has no uint8"),
        ("aten::mm", "float32", None),
        ("aten::mm", None, None),
        ("aten::histogram.bin_ct", None, "CUDA has no kernel for it"),
        ("aten::scatter_reduce.two", "bool", None),  # "sum" has it
    ],
)
def test_what_a_gpu_refuses(name: str, dtype: str | None, refused: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHDEVICE_STRICT", raising=False)
    assert one(name, dtype).refused == refused
    assert refused is None or not one(name, dtype).runs_natively
    monkeypatch.setenv("TORCHDEVICE_STRICT", "0")
    assert one(name, dtype).refused is None


def test_the_command_tells_what_a_gpu_refuses(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCHDEVICE_STRICT", raising=False)
    assert why("aten::dot", "int64", as_json=False) == 1
    out = capsys.readouterr().out
    assert "  runs            not, as on a GPU: CUDA's kernel, dot, has no int64; TORCHDEVICE_STRICT=0 lets it\n" in out
    assert "  rule            refused types: CUDA's kernel, dot, lacks uint8, int8, int16, int32, int64\n" in out


@over_cpu
def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert why("aten::mul.Tensor", "float16", as_json=False) == 0
    assert capsys.readouterr().out == (
        "aten::mul.Tensor: typed\n"
        "  schema          aten::mul.Tensor(Tensor self, Tensor other) -> Tensor\n"
        "  kernel          a typed kernel forwards it to the native backend's own kernel, without copies\n"
        "  rule            tensor iterator: as CUDA: a tensor without dimensions may be on the CPU, others may not\n"
        "  other layouts   Sparse, SparseCsr, NestedTensor\n"
        "  runs            natively, on cpu\n"
        "  over MPS        torch has a kernel\n"
        "  float16         native: the kernel computes in float16\n"
    )
    assert why("linalg.eigh", None, as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert_documented("why", found)
    (data,) = found
    assert data["how"] == "decomposed"
    assert data["how_in_words"] == HOW["decomposed"]
    assert data["runs_natively"] is True


@pytest.mark.skipif(_C.native_backend_name() != "mps", reason="nothing falls back over the CPU")
def test_over_mps(capsys: pytest.CaptureFixture[str]) -> None:
    assert why("aten::mul.Tensor", "float64", as_json=False) == 1
    assert "runs            on the CPU: MPS has no float64" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("operator", "dtype", "error"),
    [
        ("eigh", None, "torch has no operator 'eigh'; did you mean aten::linalg_eigh?"),
        ("aten::softmaxx", None, "torch has no operator 'aten::softmaxx'; did you mean aten::softmax"),
        ("xyzzy_plugh", None, "torch has no operator 'xyzzy_plugh'"),
        ("mm", "float61", "torch has no data type 'float61'; did you mean float64?"),
        ("mm", "tensor", "torch has no data type 'tensor'"),
    ],
)
def test_unknown_names(operator: str, dtype: str | None, error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert why(operator, dtype, as_json=False) == 2
    assert capsys.readouterr().err.startswith(f"torchdevice why: {error}")


def test_data_types() -> None:
    assert [dtype_name(text) for text in ("half", "torch.float64", "bfloat16")] == ["float16", "float64", "bfloat16"]


def test_the_rules_that_are_shipped_name_operators_that_there_are() -> None:
    known_names = {name.removeprefix("aten::") for name in _all_names()}
    assert set(known.HOST_SYNCS) <= known_names
    assert len(known.HANDWRITTEN & known_names) > 40
