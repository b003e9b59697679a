"""The redirect policy among all else: torch.device as a type, pickle, scripts, compiled code, threads, processes."""

from __future__ import annotations

import copy
import os
import pickle
import threading

import pytest
import torch
from torch import nn

import torchdevice
from tests.conftest import RunPython

pytestmark = pytest.mark.usefixtures("untouched")

HERE = torch.ones(2)


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
