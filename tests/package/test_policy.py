"""The redirect policy and "cpu:-1": what they change in every place that names a device, and that nothing is left."""

from __future__ import annotations

import copy
import io
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

import torchdevice
from tests.conftest import RunPython
from torchdevice import policy

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


every_carrier = pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Each test ends as it began: nothing is installed."""
    yield
    assert "to" not in vars(torch.Tensor)
    assert torch.device.__new__.__self__ is torch.device
    assert (policy._redirects, policy._overrides, len(policy._scopes)) == (False, False, 1)


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


@pytest.fixture
def listening() -> Iterator[None]:
    """As after `import TorchDevice`."""
    policy.listen()
    yield
    policy._listens = False
    policy._settle()


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


def test_the_type_stays_what_it_is(listening: None) -> None:
    kind, union = torch.device, int | torch.device
    with torchdevice.redirect():
        device = torch.device("cpu")
        assert torch.device is kind
        assert type(device) is kind
        assert isinstance(device, union)
        assert union == int | torch.device
        assert {device: 1}[torch.device("cuda")] == 1
        assert repr(device) == "device(type='cuda')"


def test_pickle_and_copies() -> None:
    """What there is already is not asked for again."""
    host = [torch.device("cpu"), torch.ones(2), nn.Linear(2, 2)]
    with torchdevice.redirect():
        ours = [torch.device("cpu"), torch.ones(2), nn.Linear(2, 2)]
        for original, kind in ((host, "cpu"), (ours, "cuda")):
            for one in (copy.deepcopy(original), copy.copy(original)):
                assert one[0] == original[0]
                assert one[1].device.type == one[2].weight.device.type == kind
        device, tensor, layer = pickle.loads(pickle.dumps([torch.device("cuda:0"), host[1], host[2]]))
        assert (str(device), tensor.device.type, layer.weight.device.type) == ("cuda:0", "cpu", "cpu")


def test_torch_code_means_what_it_says() -> None:
    """Optimizers made before go on; loaders shuffle on the CPU; lengths of sequences stay there."""
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(layer.parameters(), foreach=True)
    layer(HERE).sum().backward()
    optimizer.step()
    data = torch.utils.data.TensorDataset(torch.arange(8))
    with torchdevice.redirect():
        optimizer.step()
        assert repr(HERE) == "tensor([1., 1.])"
        for workers in (0, 2):
            loader = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True, num_workers=workers)
            assert sum(batch.sum().item() for (batch,) in loader) == 28
        lengths = torch.tensor([3, 2]).cpu()
        assert nn.utils.rnn.pack_padded_sequence(torch.ones(3, 2, 4), lengths).data.device.type == "cuda"
        with torch.autocast("cpu", torch.bfloat16):
            assert (nn.Linear(2, 2)(torch.ones(2))).dtype == torch.bfloat16


def test_scripts() -> None:
    """Scripted code is torch's own; it compiles as before."""

    def both(x: torch.Tensor) -> torch.Tensor:
        return torch.ones(2, device="cpu") + torch.zeros(2, device=x.device).to("cpu")

    with torchdevice.redirect():
        assert torch.jit.script(both)(torch.ones(2)).device.type == "cpu"
        traced = torch.jit.trace(lambda x: x + torch.ones(2), torch.ones(2))
        assert traced(torch.ones(2)).device.type == "cuda"
        assert torch.fx.symbolic_trace(nn.Linear(2, 2))(torch.ones(1, 2)).device.type == "cuda"
    assert torch.jit.script(both)(torch.ones(2)).device.type == "cpu"


@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
def test_compiled_code_follows(backend: str, fresh_dynamo: None) -> None:
    def devices(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        named = torch.ones(2, device="cpu") + torch.zeros(2) + x.to("cpu")
        return named, torch.ones(2, device=torch.device("cpu"))

    compiled = torch.compile(devices, backend=backend, fullgraph=True)

    def kinds() -> set[str]:
        return {tensor.device.type for tensor in compiled(torch.ones(2))}

    assert kinds() == {"cpu"}
    with torchdevice.redirect():
        assert kinds() == {"cuda"}
        with torchdevice.cpu_override():
            assert kinds() == {"cpu"}
        assert kinds() == {"cuda"}
        on_the_host = torch.compile(lambda x: x * 2 + 1, backend=backend)
        assert on_the_host(HERE).device.type == "cpu"
    assert kinds() == {"cpu"}


def test_compiled_code_cannot_toggle(listening: None, fresh_dynamo: None) -> None:
    compiled = torch.compile(lambda x: x.to("cpu:-1"), backend="eager", fullgraph=True)
    with pytest.raises(
        Exception, match="'cpu:-1' changes what devices mean, which compiled code cannot do. Ask for it"
    ):
        compiled(torch.ones(2))
    assert not torchdevice.is_cpu_override_active()


def test_as_a_function() -> None:
    torchdevice.redirect()
    try:
        assert torch.ones(2).device.type == "cuda"
        with torchdevice.redirect(False):
            assert torch.ones(2).device.type == "cpu"
        assert torch.ones(2).device.type == "cuda"
    finally:
        torchdevice.redirect(False)
    assert torch.ones(2).device.type == "cpu"


def test_scopes_end_what_began_in_them(listening: None) -> None:
    with torchdevice.redirect():
        torch.device("cpu:-1")
        with torchdevice.cpu_override():
            torch.device("cpu:-1")
            assert torch.ones(2).device.type == "cuda"
        assert torch.ones(2).device.type == "cpu"
    assert torch.device("cuda").type == "cuda"


def test_an_exception_leaves_nothing() -> None:
    with pytest.raises(ZeroDivisionError), torchdevice.redirect(), torchdevice.cpu_override():
        raise ZeroDivisionError


def test_all_threads_see_it_and_may_leave_in_any_order() -> None:
    first, second, seen = threading.Event(), threading.Event(), []

    def other() -> None:
        seen.append(torch.ones(2).device.type)
        with torchdevice.redirect():
            first.set()
            second.wait(60)
            seen.append(torch.ones(2).device.type)

    with torchdevice.redirect():
        thread = threading.Thread(target=other)
        thread.start()
        assert first.wait(60)
    second.set()
    thread.join()
    assert seen == ["cuda", "cuda"]


def test_many_threads() -> None:
    failures = []

    def work() -> None:
        for _ in range(20):
            with torchdevice.redirect():
                if torch.ones(2, device="cpu").device.type != "cuda":
                    failures.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_torch_is_as_it_was() -> None:
    modules = (torch, torch.fft, torch.nested, torch.jit, torch.Tensor, nn.Module, torch.autocast, torch.Generator)
    before = [dict(vars(module)) for module in modules]
    device, table = dict(vars(torch.device)), dict(torch.jit._builtins._get_builtin_table())
    with torchdevice.redirect(), torchdevice.cpu_override():
        torch.ones(2)
    assert [dict(vars(module)) for module in modules] == before
    assert dict(vars(torch.device)) == device
    assert torch.jit._builtins._get_builtin_table() == table
    with torch.device("meta"):
        assert torch.ones(2).device.type == "meta"


@pytest.mark.parametrize(
    ("text", "kind"), [("true", "cuda"), ("True", "cuda"), ("1", "cuda"), ("FALSE", "cpu"), ("", "cpu")]
)
def test_the_variable(run_python: RunPython, text: str, kind: str) -> None:
    code = "import torch; print(torch.device('cpu').type, torch.ones(2).device.type)"
    assert run_python(code, TORCH_ALLOW_REDIRECTS=text).stdout == f"{kind} {kind}\n"


def test_a_value_that_does_not_exist(run_python: RunPython) -> None:
    process = run_python("import torch; print(torch.cuda.is_available())", TORCH_ALLOW_REDIRECTS="maybe")
    assert process.stdout == "False\n"
    assert (
        "RuntimeWarning: torchdevice is not active: activation failed: ValueError: TORCH_ALLOW_REDIRECTS must be true "
        "or false, but it is 'maybe'\n"
    ) in process.stderr


def test_the_undo_of_all_patches(run_python: RunPython) -> None:
    run_python(
        """
        import torch, torchdevice
        ones = torch.ones
        torchdevice.redirect()
        assert torch.ones is not ones
        from torchdevice import patches
        patches.undo()
        assert torch.ones is ones and torch.device("cpu").type == "cpu"
        """
    )


def test_nothing_is_loaded_or_installed_unless_asked(run_python: RunPython) -> None:
    run_python(
        """
        import torch, sys
        assert not {"torchdevice.policy", "torchdevice.patches.redirect"} & set(sys.modules)
        assert "to" not in vars(torch.Tensor)
        assert type(torch.ones).__name__ == "builtin_function_or_method"
        assert type(torch.device.__new__).__name__ == "builtin_function_or_method"
        """
    )


def test_where_there_is_no_accelerator(run_python: RunPython) -> None:
    code = """
        import torch, torchdevice
        try:
            torchdevice.redirect()
        except RuntimeError as error:
            print(error)
        print(torch.ones(2).device)
    """
    assert run_python(code, TORCHDEVICE="0", TORCHDEVICE_BACKEND=None, PYTHONPATH=None).stdout == (
        "torchdevice.redirect() found no accelerator that 'cpu' could mean: torch has none here, and torchdevice is "
        "not active. `python -m torchdevice info` says why\ncpu\n"
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_that_cannot_use_cuda_has_the_cpu(run_python: RunPython) -> None:
    code = """
        import os, torch, torchdevice
        torchdevice.redirect()
        torch.ones(2)
        if os.fork() == 0:
            print(torch.ones(2, device="cpu").device, flush=True)
            os._exit(0)
        os.wait()
        print(torch.ones(2).device)
    """
    assert run_python(code).stdout == "cpu\ncuda:0\n"
