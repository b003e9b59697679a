"""torchdevice.report(): calls by side, their bytes, times and call sites; TORCHDEVICE_FALLBACK."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

import torchdevice
from tests.conftest import RunPython
from torchdevice import _C

over_mps = pytest.mark.skipif(_C.native_backend_name() != "mps", reason="nothing falls back over the CPU")


def report_of(run_python: RunPython, code: str, **environment: str) -> dict[str, Any]:
    """The report of a fresh process, as it writes it, with operators by name."""
    ending = "\nimport torchdevice\nprint(torchdevice.report().to_json())"
    data: dict[str, Any] = json.loads(
        run_python("import torch\n" + code + ending, TORCHDEVICE_REPORT="1", **environment).stdout
    )
    data["operators"] = {operator["name"]: operator for operator in data["operators"]}
    return data


def test_calls_bytes_times_and_call_sites(run_python: RunPython) -> None:
    report = report_of(run_python, "x = torch.ones(1000, device='cuda')\nfor _ in range(3):\n    torch.mul(x, x)")
    mul = report["operators"]["aten::mul.Tensor"]
    assert report["detailed"]
    assert mul["native"] == {
        "calls": 3, "bytes": 3 * 2 * 4000, "seconds": mul["native"]["seconds"], "call_site": "<string>:4",
    }  # fmt: skip
    assert mul["native"]["seconds"] > 0
    assert mul["cpu"] == {"calls": 0, "bytes": 0, "seconds": 0, "call_site": None}
    assert mul["reason"] is None


def test_call_sites_are_the_users(run_python: RunPython) -> None:
    report = report_of(
        run_python, "layer = torch.nn.Linear(4, 4, device='cuda')\n\n\nlayer(torch.ones(2, 4, device='cuda'))"
    )
    assert report["operators"]["aten::addmm"]["native"]["call_site"] == "<string>:5"


def test_a_backward_pass_has_the_call_site_of_backward(run_python: RunPython) -> None:
    report = report_of(
        run_python, "x = torch.ones(4, device='cuda', requires_grad=True)\ntorch.tanh(x).sum().backward()"
    )
    backward = report["operators"]["aten::tanh_backward"]["native"]
    assert backward["calls"] == 1
    assert backward["call_site"] == "<string>:3"


def test_threads_are_counted_together(run_python: RunPython) -> None:
    report = report_of(
        run_python,
        """
import threading

x = torch.ones(10, device="cuda")
def work():
    for _ in range(500):
        torch.mul(x, x)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
""",
    )
    mul = report["operators"]["aten::mul.Tensor"]
    assert mul["native"]["calls"] + mul["cpu"]["calls"] == 2000
    assert mul["native"]["bytes"] + mul["cpu"]["bytes"] == 2000 * 80


def test_over_the_cpu_nothing_falls_back(run_python: RunPython) -> None:
    code = "print(torch.linalg.eigh(torch.eye(3, device='cuda'))[0].sum().item())"
    text = run_python(
        f"import torch, torchdevice\n{code}\nprint(torchdevice.report())",
        TORCHDEVICE_REPORT="1",
        TORCHDEVICE_BACKEND="cpu",
        TORCHDEVICE_FALLBACK="error",
        TORCHDEVICE_FORCE_CPU_OPS="sum",
    ).stdout.splitlines()
    assert text[0] == "3.0"
    assert text[1].startswith("torchdevice over the CPU: ")
    assert text[1].endswith("The CPU is the native backend, so nothing falls back.")
    assert " ".join(text[2].split()) == "operator native CPU MiB native ms CPU ms first call why on the CPU"
    assert any(line.startswith("aten::_linalg_eigh") for line in text[3:])


def test_without_the_switch_the_cpu_counts_nothing(run_python: RunPython) -> None:
    process = run_python(
        "import torch, torchdevice; torch.ones(1, device='cuda') + 1; print(torchdevice.report())",
        TORCHDEVICE_BACKEND="cpu",
        TORCHDEVICE_REPORT=None,
    )
    assert process.stdout == (
        "torchdevice over the CPU: nothing was counted, as TORCHDEVICE_REPORT=1 was not set at the start.\n"
    )


def test_results_are_the_same_with_a_report(run_python: RunPython) -> None:
    code = """
        import torch
        torch.manual_seed(0)
        layers = [torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(5)]
        model = torch.nn.Sequential(*layers).cuda()
        x = torch.rand(2, 3, 8, 8).cuda()
        model(x)
        optimizer = torch.optim.AdamW(model.parameters())
        for _ in range(3):
            loss = torch.nn.functional.cross_entropy(model(x), torch.tensor([1, 2]).cuda())
            loss.backward()
            optimizer.step()
        print(loss.item(), sum(p.sum().item() for p in model.parameters()))
    """
    plain, counted = (run_python(code, TORCHDEVICE_REPORT=switch).stdout for switch in ("0", "1"))
    assert plain == counted


@over_mps
def test_what_falls_back_says_why(run_python: RunPython) -> None:
    report = report_of(
        run_python,
        "x = torch.eye(3, device='cuda')\n"
        "torch.take(x, torch.tensor([0, 4], device='cuda'))\n"
        "x.double() * 2\n"
        "torch.mul(x, 2)\n"
        "torch.tanh(x)\n"
        "x.to_sparse() @ x",
        TORCHDEVICE_FORCE_CPU_OPS="tanh",
    )
    reasons = {name: operator["reason"] for name, operator in report["operators"].items() if operator["cpu"]["calls"]}
    assert reasons["aten::take"] == "MPS has no kernel for it"
    assert reasons["aten::mul.Tensor"] == "MPS lacks one of its data types"
    assert reasons["aten::tanh"] == "TORCHDEVICE_FORCE_CPU_OPS names it"
    assert "its tensors are sparse, quantized or nested" in reasons.values()
    take = report["operators"]["aten::take"]
    assert take["cpu"]["calls"] == 1
    assert take["cpu"]["bytes"] == 36 + 16
    assert take["cpu"]["call_site"] == "<string>:3"
    assert take["native"]["calls"] == 0
    assert report["operators"]["aten::mul.Tensor"]["native"]["calls"] >= 1
    assert report["fallbacks"] == sum(operator["cpu"]["calls"] for operator in report["operators"].values())
    assert report["transitions"] >= 1
    assert report["copied_bytes"] == 0


@over_mps
def test_calls_are_counted_without_the_switch() -> None:
    def calls() -> int:
        return {one.name: one.cpu.calls for one in torchdevice.report().operators}.get("aten::take", 0)

    before = calls()
    torch.take(torch.eye(3, device="cuda"), torch.tensor([0], device="cuda"))
    assert calls() == before + 1


@over_mps
def test_warn_says_it_once_for_each_operator(run_python: RunPython) -> None:
    process = run_python(
        """
        import torch
        x, i = torch.eye(3, device="cuda"), torch.tensor([0], device="cuda")
        for _ in range(3):
            torch.take(x, i)
        """,
        TORCHDEVICE_FALLBACK="warn",
    )
    assert process.stderr.count("runs on the CPU") == 1
    assert (
        "UserWarning: aten::take on cuda runs on the CPU: MPS has no kernel for it (TORCHDEVICE_FALLBACK=warn)"
        in process.stderr
    )


@over_mps
def test_error_keeps_operators_from_the_cpu(run_python: RunPython) -> None:
    process = run_python(
        """
        import torch
        x = torch.eye(3, device="cuda")
        try:
            torch.take(x, torch.tensor([0], device="cuda"))
        except NotImplementedError as error:
            print(error)
        print((x + 1).sum().item())
        """,
        TORCHDEVICE_FALLBACK="error",
    )
    assert process.stdout.splitlines() == [
        "Could not run 'aten::take' with arguments from the 'CUDA' backend: MPS has no kernel for it, and "
        "TORCHDEVICE_FALLBACK=error keeps it from running on the CPU.",
        "12.0",
    ]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TORCHDEVICE_FALLBACK", "never", "TORCHDEVICE_FALLBACK must be allow, warn or error, got 'never'"),
        ("TORCHDEVICE_REPORT", "yes", "TORCHDEVICE_REPORT must be 0 or 1, got 'yes'"),
        ("TORCHDEVICE_FORCE_CPU_OPS", "mul,mull", "must name operators, but there is no aten::mull"),
    ],
)
def test_settings_with_other_values(run_python: RunPython, name: str, value: str, message: str) -> None:
    process = run_python("import torch; print(torch.cuda.is_available())", **{name: value})
    assert message in process.stderr
    assert process.stdout == "False\n"


def test_no_report_where_torchdevice_is_not_active(run_python: RunPython) -> None:
    process = run_python("import torchdevice; torchdevice.report()", check=False, TORCHDEVICE="0")
    assert process.stderr.splitlines()[-1].startswith(
        "RuntimeError: torchdevice is not active, so there is nothing to report: "
    )
