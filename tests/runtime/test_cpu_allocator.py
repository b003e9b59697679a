"""The CPU allocator beneath ours is torch's, and need not be malloc."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Compile, RunPython

CODE = """
    import ctypes, gc, torch
    other = ctypes.CDLL({library!r})
    other.blocks_of_other_allocator.restype = ctypes.c_int64
    other.install_other_allocator()
    import torchdevice
    torchdevice.activate()

    def step():
        conv = torch.nn.Conv2d(8, 64, 3, padding=1).cuda().half()
        x = torch.ones(2, 8, 32, 32, device="cuda", dtype=torch.float16, requires_grad=True)
        y = conv(x)
        y.sum().backward()
        return y, torch.nn.functional.conv2d(x.float(), conv.weight.float(), conv.bias.float(), padding=1)

    def work():
        for _ in range(3):
            y, expected = step()
            torch.testing.assert_close(y.float(), expected, rtol=2e-3, atol=2e-3)

    work()
    gc.collect()
    before = other.blocks_of_other_allocator()
    assert before > 0
    work()
    gc.collect()
    assert other.blocks_of_other_allocator() == before  # the same ones again and again
"""


def test_halves_in_float32_over_an_allocator_that_is_not_malloc(
    run_python: RunPython, compile_cpp: Compile, tmp_path: Path
) -> None:
    source = Path(__file__).with_name("other_cpu_allocator.cpp")
    library = compile_cpp(source, tmp_path / "other.so", "-shared", "-fPIC")
    run_python(CODE.format(library=str(library)), TORCH_DEVICE_BACKEND_AUTOLOAD="0", TORCHDEVICE_HALF="float32")
