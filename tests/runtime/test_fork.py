"""Forked processes: CUDA is refused as on a GPU, or let through by TORCHDEVICE_FORK=allow; work on the CPU goes on."""

from __future__ import annotations

import ast
import textwrap

import pytest

from tests.conftest import RunPython

FORK = """
    import os, sys, torch, torch.multiprocessing as mp

    x = torch.arange(4.0, device="cuda")
    used_before = torch.ones(2, device="cuda").sum()


    def child(queue, back):
        try:
            mine = queue.get(timeout=60)
            mine.add_(1)
            back.put(("ok", mine.sum().item(), torch.rand(3, device="cuda").device.type))
        except RuntimeError as error:
            back.put(("error", str(error)))


    context = mp.get_context("fork")
    queue, back = context.Queue(), context.Queue()
    process = context.Process(target=child, args=(queue, back))
    process.start()
    queue.put(x)
    answer = back.get(timeout=60)
    process.join(60)
    print(repr((answer, x.tolist())))
    """

WORKER = """
    import torch
    from torch.utils.data import DataLoader, Dataset

    used_before = torch.ones(2, device="cuda").sum()


    class Cuda(Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return torch.full((2,), float(i), device="cuda")


    try:
        batches = [b.tolist() for b in DataLoader(Cuda(), batch_size=2, num_workers=1, multiprocessing_context="fork")]
    except RuntimeError as error:
        batches = str(error)
    assert used_before.item() == 2
    print(repr(batches))
    """

BAD_FORK = (
    "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must use the 'spawn' start "
    "method"
)


def test_fork_after_use_is_refused_as_on_a_gpu(run_python: RunPython) -> None:
    answer, values = ast.literal_eval(run_python(FORK, TORCHDEVICE_FORK=None).stdout)
    assert answer == ("error", BAD_FORK)
    assert values == [0, 1, 2, 3]


def test_workers_of_a_data_loader_are_refused_as_on_a_gpu(run_python: RunPython) -> None:
    assert BAD_FORK in ast.literal_eval(run_python(WORKER, TORCHDEVICE_FORK=None).stdout)


def test_fork_after_use_where_it_is_allowed(run_python: RunPython) -> None:
    answer, values = ast.literal_eval(run_python(FORK, TORCHDEVICE_FORK="allow").stdout)
    assert answer == ("ok", 10.0, "cuda")
    assert values == [1, 2, 3, 4]


def test_workers_of_a_data_loader_where_it_is_allowed(run_python: RunPython) -> None:
    batches = ast.literal_eval(run_python(WORKER, TORCHDEVICE_FORK="allow").stdout)
    assert batches == [[[0, 0], [1, 1]], [[2, 2], [3, 3]]]


# Teams of threads also where there is one core.
PARENT = """
    import multiprocessing, os, threading, torch

    torch.set_num_threads(4)
    context = multiprocessing.get_context("fork")


    def parallel_work(device):
        x = torch.ones(1 << 20, device=device) + 1
        square = torch.full((300, 300), 2.0, device=device)
        numbers = torch.randperm(40000, device=device)
        images, kernel = torch.ones(4, 8, 64, 64, device=device), torch.ones(8, 8, 3, 3, device=device)
        image = torch.nn.functional.conv2d(images, kernel)
        return x.sum().item(), (square @ square)[0, 0].item(), numbers.sum().item(), image.max().item()


    EXPECTED = (2 << 20, 1200, 40000 * 39999 // 2, 72)


    def threads():
        return len(os.listdir("/proc/self/task"))


    assert parallel_work("cuda") == EXPECTED
    """

CHILDREN = {
    "process": """
        answers = context.Queue()
        process = context.Process(target=lambda: answers.put(parallel_work("cpu")))
        process.start()
        answer = answers.get(timeout=60)
        process.join(60)
        """,
    "pool": """
        with context.Pool(2) as pool:
            first, answer = pool.map(parallel_work, ["cpu", "cpu"])
        assert first == answer
        """,
    "executor": """
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(2, mp_context=context) as executor:
            answer = executor.submit(parallel_work, "cpu").result(60)
        """,
    "thread that has worked": """
        def work_and_fork():
            global answer
            parallel_work("cuda")
            with context.Pool(1) as pool:
                answer = pool.apply(parallel_work, ("cpu",))


        thread = threading.Thread(target=work_and_fork)
        thread.start()
        thread.join()
        """,
    "thread that has not worked": """
        def fork():
            global answer
            with context.Pool(1) as pool:
                answer = pool.apply(parallel_work, ("cpu",))


        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()
        """,
    "while another thread works": """
        ends = threading.Event()


        def work():
            while not ends.is_set():
                torch.ones(1 << 20, device="cuda") + 1


        thread = threading.Thread(target=work)
        thread.start()
        for _ in range(5):
            with context.Pool(1) as pool:
                answer = pool.apply(parallel_work, ("cpu",))
        ends.set()
        thread.join()
        """,
    "after a backward pass": """
        square = torch.randn(300, 300, device="cuda", requires_grad=True)
        (square @ square).sum().backward()
        with context.Pool(1) as pool:
            answer = pool.apply(parallel_work, ("cpu",))
        """,
    "grandchild": """
        def child(answers):
            assert parallel_work("cpu") == EXPECTED
            grandchild = context.Process(target=lambda: answers.put(parallel_work("cpu")))
            grandchild.start()
            grandchild.join(60)


        answers = context.Queue()
        process = context.Process(target=child, args=(answers,))
        process.start()
        answer = answers.get(timeout=60)
        process.join(60)
        """,
    "workers of a data loader": """
        class Numbers(torch.utils.data.Dataset):
            def __len__(self):
                return 2

            def __getitem__(self, i):
                torch.set_num_threads(4)
                return torch.tensor(parallel_work("cpu"), dtype=torch.float64)


        loader = torch.utils.data.DataLoader(Numbers(), num_workers=2, multiprocessing_context=context)
        (first,), (second,) = loader
        assert first.equal(second)
        answer = tuple(first.tolist())
        """,
}


def program(*parts: str) -> str:
    return "\n".join(textwrap.dedent(part) for part in parts)


@pytest.mark.parametrize("setting", [None, "allow"])
@pytest.mark.parametrize("child", CHILDREN)
def test_a_child_works_on_the_cpu_after_cuda_work_in_its_parent(
    run_python: RunPython, child: str, setting: str | None
) -> None:
    goes_on = """
    assert answer == EXPECTED, answer
    assert parallel_work("cuda") == parallel_work("cpu") == EXPECTED
    """
    run_python(program(PARENT, CHILDREN[child], goes_on), timeout=100, TORCHDEVICE_FORK=setting)


def test_a_child_works_on_both_devices_where_it_is_allowed(run_python: RunPython) -> None:
    child = """
    with context.Pool(1) as pool:
        assert pool.map(parallel_work, ["cuda", "cpu", "cuda"]) == [EXPECTED] * 3
    """
    run_python(program(PARENT, child), timeout=100, TORCHDEVICE_FORK="allow")


@pytest.mark.parametrize(("device", "remain"), [("cpu", True), ("cuda", False)])
def test_threads_of_parallel_loops_end_before_a_fork_if_cuda_is_in_use(
    run_python: RunPython, device: str, remain: bool
) -> None:
    code = f"""
    import os, torch

    def fork():
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        return len(os.listdir("/proc/self/task"))


    fork()  # threads of numpy's end
    torch.set_num_threads(4)
    torch.ones(1 << 20, device="{device}") + 1
    before = len(os.listdir("/proc/self/task"))
    print(before - fork())
    """
    assert int(run_python(code).stdout) == (0 if remain else 3)
