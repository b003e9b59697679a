"""The redirect policy and "cpu:-1": what they change in every place that names a device, and that nothing is left."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import torchdevice

HERE = torch.ones(2)

#: Each way to name a device, and what it makes of the name.
CARRIERS: dict[str, Callable[[str], torch.device]] = {
    "torch.device": lambda name: torch.device(name),
    "torch.device(type=)": lambda name: torch.device(type=name),
    "torch.ones": lambda name: torch.ones(2, device=name).device,
    "torch.tensor": lambda name: torch.tensor([1.0], device=name).device,
    "torch.ones_like": lambda name: torch.ones_like(HERE, device=name).device,
    "torch.fft.fftfreq": lambda name: torch.fft.fftfreq(4, device=name).device,
    "new_zeros": lambda name: HERE.new_zeros(2, device=name).device,
    "new_tensor": lambda name: HERE.new_tensor([1.0], device=name).device,
    "to": lambda name: HERE.to(name).device,
    "to(device=)": lambda name: HERE.to(device=name, dtype=torch.float64).device,
    "Module.to": lambda name: nn.Linear(2, 2).to(name).weight.device,
    "Module.to_empty": lambda name: nn.Linear(2, 2).to_empty(device=name).weight.device,
    "a module's device=": lambda name: nn.Linear(2, 2, device=name).weight.device,
    "PackedSequence.to": lambda name: nn.utils.rnn.pack_sequence([HERE]).to(name).data.device,
    "torch.Generator": lambda name: torch.Generator(name).device,
    "torch.load": lambda name: torch.load(saved(), map_location=name).device,
    "torch.load's dictionary": lambda name: torch.load(saved(), map_location={"cpu": name}).device,
    "torch.set_default_device": lambda name: with_default(name),
    "with torch.device": lambda name: within(torch.device(name)),
}


def saved() -> io.BytesIO:
    torch.save(HERE, file := io.BytesIO())
    file.seek(0)
    return file


def with_default(name: str) -> torch.device:
    torch.set_default_device(name)
    try:
        return torch.ones(2).device
    finally:
        torch.set_default_device(None)


def within(device: torch.device) -> torch.device:
    with device:
        return torch.ones(2).device


pytestmark = pytest.mark.usefixtures("untouched")
every_carrier = pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)


@every_carrier
def test_redirected(carrier: Callable[[str], torch.device]) -> None:
    assert carrier("cpu").type == "cpu"
    with torchdevice.redirect():
        assert [carrier(name).type for name in ("cpu", "cpu:0", "cuda")] == ["cuda"] * 3
    assert carrier("cpu").type == "cpu"


@every_carrier
def test_the_cpu_override(carrier: Callable[[str], torch.device]) -> None:
    with torchdevice.cpu_override():
        assert torchdevice.is_cpu_override_active()
        assert [carrier(name).type for name in ("cpu", "cuda", "cuda:0", "mps")] == ["cpu"] * 4
    assert not torchdevice.is_cpu_override_active()
    assert carrier("cuda").type == "cuda"


@every_carrier
def test_the_toggle(carrier: Callable[[str], torch.device], listening: None) -> None:
    """Asked for twice, it is as before."""
    assert carrier("cpu:-1") == torch.device("cpu")
    assert torchdevice.is_cpu_override_active()
    assert torch.ones(2, device="cuda").device.type == torch.ones(2).cuda().device.type == "cpu"
    assert carrier("cpu:-1") == torch.device("cpu")
    assert not torchdevice.is_cpu_override_active()
    assert torch.ones(2, device="cuda").device.type == "cuda"


def test_a_module_asks_once_however_many_parameters_it_has(listening: None) -> None:
    for kind in (nn.Linear, nn.LSTM, lambda size, _, device: nn.TransformerEncoderLayer(size, 1, device=device)):
        for active in (True, False):
            assert next(kind(2, 2, device="cpu:-1").parameters()).device.type == "cpu"
            assert torchdevice.is_cpu_override_active() is active


def test_the_toggle_in_two_parts(listening: None) -> None:
    for active in (True, False):
        assert torch.device("cpu", -1) == torch.device("cpu")
        assert torchdevice.is_cpu_override_active() is active
        assert torch.device(type="cpu", index=-1).type == "cpu"
        assert torchdevice.is_cpu_override_active() is not active
        torch.device("cpu:-1")


def test_devices_from_before_the_toggle(listening: None) -> None:
    before, layer, tensor = torch.device("cuda"), nn.Linear(2, 2, device="cuda"), torch.ones(2, device="cuda")
    torch.device("cpu:-1")
    assert torch.ones(2, device=before).device.type == tensor.to(before).device.type == "cpu"
    assert tensor.device.type == layer.weight.device.type == "cuda"
    assert layer.to(before).weight.device.type == layer.cuda().weight.device.type == "cpu"
    assert torch.ones(2).to(0).device.type == "cpu"
    torch.device("cpu:-1")
    assert layer.to(before).weight.device.type == "cuda"


def test_without_a_wish_it_is_torchs_error() -> None:
    with pytest.raises(RuntimeError, match=r"^Invalid device string: 'cpu:-1'"):
        torch.ones(2, device="cpu:-1")


def test_no_device() -> None:
    def made() -> set[str]:
        factories = (torch.ones(2), torch.tensor([1.0]), torch.arange(3), torch.rand(2), torch.eye(2))
        return {
            tensor.device.type for tensor in (*factories, *nn.Linear(2, 2).parameters(), *nn.LSTM(2, 2).parameters())
        }

    assert made() == {"cpu"}
    with torchdevice.redirect():
        assert made() == {"cuda"}
        assert {torch.ones_like(HERE).device.type, HERE.new_ones(2).device.type} == {"cpu"}
        with torchdevice.cpu_override():
            assert made() == {"cpu"}
        with torch.device("meta"):
            assert made() == {"meta"}
            with torchdevice.cpu_override():
                assert made() == {"meta"}
    assert made() == {"cpu"}


def test_what_tells_of_a_device_by_itself() -> None:
    with torchdevice.redirect():
        assert torch.randn(2, generator=torch.Generator()).device.type == "cpu"
        assert torch.randn(2, generator=torch.Generator("cpu")).device.type == "cuda"
        assert torch.empty(2, pin_memory=True).device.type == "cpu"
        assert torch.empty(2, pin_memory=True, device="cpu").device.type == "cpu"
        assert torch.zeros(2, out=HERE.clone()).device.type == "cpu"


def test_cpu_as_a_method_is_the_cpu() -> None:
    with torchdevice.redirect():
        assert torch.ones(2).cpu().numpy().tolist() == [1, 1]
        assert nn.Linear(2, 2).cpu().weight.device.type == "cpu"


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="MPS is there")
def test_mps_where_there_is_none() -> None:
    with torchdevice.redirect():
        assert [torch.device("mps"), torch.device("mps:0")] == [torch.device("cuda"), torch.device("cuda:0")]
        assert HERE.to("mps").device == torch.device("cuda:0")
    with pytest.raises(RuntimeError):
        HERE.to("mps")


@pytest.mark.parametrize("override", [False, True])
def test_the_rest_is_torchs(override: bool) -> None:
    """meta, bad ordinals and names that do not exist."""

    def outcome(function: Callable[[], Any]) -> Any:
        try:
            return function()
        except Exception as error:
            return type(error), str(error)

    asked = [
        lambda: torch.device("meta"),
        lambda: torch.device("xyzzy"),
        lambda: torch.device("cuda:-1"),
        lambda: torch.device("cuda:one"),
        lambda: torch.device("cpu:"),
        lambda: torch.device("cpu", "0"),
        lambda: torch.device(),
        lambda: torch.device(index=0),
        lambda: torch.device(flavour="cpu"),
        lambda: torch.ones(2, device="cuda:-1"),
        lambda: torch.ones(2, device=[]),
        lambda: HERE.to("xyzzy"),
    ]
    before = [outcome(function) for function in asked]
    with torchdevice.cpu_override() if override else torchdevice.redirect():
        assert [outcome(function) for function in asked] == before
    with torchdevice.redirect():
        assert torch.ones(2, device="cpu:1").device.type == "cpu"
