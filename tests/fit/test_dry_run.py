"""What a program meets in a dry run: TORCHDEVICE_BACKEND=dry."""

from __future__ import annotations

from tests.conftest import RunPython

_DRY = {"TORCHDEVICE": "1", "TORCHDEVICE_BACKEND": "dry", "TORCHDEVICE_PROFILE": "h100", "TORCHDEVICE_COUNT": "2"}


def dry(run_python: RunPython, code: str) -> str:
    return run_python(code, **_DRY).stdout


def test_memory_is_the_profiles_and_costs_the_host_nothing(run_python: RunPython) -> None:
    code = """
        import resource, torch
        for device in (0, 1):
            full = torch.ones(70 << 30, dtype=torch.uint8, device=f"cuda:{device}")
            (full + 1 if device == 5 else full.add_(1))
            print(torch.cuda.memory_allocated(device) >> 30, torch.cuda.mem_get_info(device)[0] >> 30)
            globals()[f"kept{device}"] = full
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 1 << 20)
        try:
            torch.empty(20 << 30, dtype=torch.uint8, device="cuda:1")
        except torch.OutOfMemoryError as error:
            print(str(error).split(".")[0])
    """
    assert dry(run_python, code).splitlines() == ["70 10", "70 10", "True", "CUDA out of memory"]


def test_what_the_host_reads(run_python: RunPython) -> None:
    code = """
        import torch
        a = torch.randn(4, 4, device="cuda")
        print(torch.tensor(7, device="cuda").item(), torch.full((1,), 2.5, device="cuda").item())
        print((a @ a).sum().item(), a.argmax().item(), (a > 0).all().item(), a.isnan().any().item())
        print(torch.equal(a, a + 1), torch.equal(a, a[0]), a.cpu().tolist() == [[1.0] * 4] * 4)
        print(a.nonzero().shape, a[a > 0].shape, torch.unique(a).shape, torch.masked_select(a, a > 0).shape)
        a[a > 0] = 0
        order = torch.tensor([3, 1, 2]).cuda()
        print(order.cpu().tolist(), order.view(3, 1).cpu().tolist(), order.add_(1).cpu().tolist())
        b = torch.tensor(3.0, device="cuda")
        b += 1
        print(b.item())
    """
    assert dry(run_python, code).splitlines() == [
        "7 2.5",
        "1.0 1 True False",
        "True False True",
        "torch.Size([16, 2]) torch.Size([16]) torch.Size([16]) torch.Size([16])",
        "[3, 1, 2] [[1], [1], [1]] [1, 1, 1]",
        "1.0",
    ]


def test_reads_are_counted_by_place(run_python: RunPython) -> None:
    code = """
        import torch
        from torchdevice import _C
        a = torch.ones(3, device="cuda")
        for _ in range(3):
            a.sum().item()
        a.cpu()
        a.nonzero()
        print(sorted((what, where.rpartition(":")[2], count) for what, where, count in _C.dry_host_reads()))
    """
    assert dry(run_python, code) == "[('aten::nonzero', '8', 1), ('copy to the host', '7', 1), ('item', '6', 3)]\n"


def test_a_gradient_scaler_sees_no_overflow(run_python: RunPython) -> None:
    code = """
        import torch
        model = torch.nn.Linear(8, 8).cuda()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cuda")
        steps = []
        optimizer.register_step_post_hook(lambda *_: steps.append(1))
        for _ in range(2):
            with torch.autocast("cuda", dtype=torch.float16):
                loss = model(torch.randn(4, 8, device="cuda")).sum()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        print(len(steps), scaler.get_scale())
    """
    assert dry(run_python, code) == "2 65536.0\n"


def test_errors(run_python: RunPython) -> None:
    code = """
        import torch
        library = torch.library.Library("fit_test", "DEF")
        library.define("strange(Tensor x) -> Tensor")
        library.impl("strange", lambda x: x, "CPU")
        a = torch.ones(2, 3, device="cuda")
        for call in (
            lambda: a + torch.ones(2, 3),
            lambda: a + torch.ones(3, device="cuda:1"),
            lambda: a + torch.ones(2, 4, device="cuda"),
            lambda: a.copy_(torch.ones(4, 2, 3)),
            lambda: torch.ops.fit_test.strange(a),
        ):
            try:
                call()
            except (RuntimeError, NotImplementedError) as error:
                print(str(error).splitlines()[0])
    """
    assert dry(run_python, code).splitlines() == [
        "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!",
        "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cuda:1!",
        "The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1",
        "output with shape [2, 3] doesn't match the broadcast shape [4, 2, 3]",
        "A dry run cannot work out what 'fit_test::strange' returns: fit_test::strange: attempted to run this operator "
        "with Meta tensors, but there was no fake impl or Meta kernel registered. Register a kernel that says the "
        'shapes of its results, with torch.library.register_fake("fit_test::strange"), or run the program without '
        "`torchdevice fit`.",
    ]


def test_shapes_of_an_operator_that_says_them(run_python: RunPython) -> None:
    code = """
        import torch
        @torch.library.custom_op("fit_test::twice", mutates_args=())
        def twice(x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x, x])
        @twice.register_fake
        def _(x):
            return x.new_empty(2 * x.size(0))
        print(torch.ops.fit_test.twice(torch.ones(3, device="cuda")).shape)
    """
    assert dry(run_python, code) == "torch.Size([6])\n"


def test_results_that_are_arguments_or_views_of_them(run_python: RunPython) -> None:
    code = """
        import torch
        a = torch.ones(4, 3, device="cuda")
        out = torch.empty(0, device="cuda")
        print(torch.add(a, 1, out=out) is out, out.shape, out.untyped_storage().nbytes())
        print(a.relu_() is a, a.t().data_ptr() == a.data_ptr(), a.expand(2, 4, 3).stride())
        first, second = a.split(2)
        print(second.data_ptr() - a.data_ptr(), a.contiguous().data_ptr() == a.data_ptr())
        print(a.resize_(8, 8).shape, torch._foreach_add([a, out], 1)[1].shape)
    """
    assert dry(run_python, code).splitlines() == [
        "True torch.Size([4, 3]) 48",
        "True True (0, 3, 1)",
        "24 True",
        "torch.Size([8, 8]) torch.Size([4, 3])",
    ]
