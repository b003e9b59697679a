"""Random numbers are CUDA's: what GPUs have printed, cuRAND's rules written once more in numpy, and moments."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.aten.curand_model import philox, uniform, words
from tests.conftest import RunPython

#: torch.manual_seed(0); torch.rand(28, device="cuda"): expected values of mmdetection3d's tests of its detectors, which
#: only run on GPUs; TensorRT-LLM's tests of rand expect the first twelve.
RAND = [
    *(0.3990, 0.5167, 0.0249, 0.9401, 0.9459, 0.7967, 0.4150, 0.8203, 0.2290, 0.9096, 0.1183, 0.0752, 0.4092, 0.9601),
    *(0.2093, 0.1940, 0.8909, 0.4387, 0.3570, 0.5454, 0.8299, 0.2099, 0.7684, 0.4290, 0.2117, 0.6606, 0.1654, 0.4250),
]
#: The second torch.rand(10, device="cuda") after that seed, as printed in notes about Triton's compiler.
SECOND_RAND = [0.9722, 0.7910, 0.4690, 0.3300, 0.3345, 0.3783, 0.7640, 0.6405, 0.1103, 0.3594]
#: torch.manual_seed(0); torch.randn(8, 8, device="cuda"): printed by GPU MODE's lecture on fused kernels.
RANDN = [
    *(-0.9247, -0.4253, -2.6438, 0.1452, -0.1209, -0.5797, -0.6229, -0.3284),
    *(-1.0745, -0.3631, -1.6711, 2.2655, 0.3117, -0.1842, 1.2866, 1.1820),
    *(-0.1271, 1.2169, 1.4353, 1.0605, -0.4941, -1.4244, -0.7244, -1.2973),
    *(0.0697, -0.0074, 1.8969, 0.6878, -0.0779, -0.8373, 1.3506, -0.2879),
    *(-0.5965, -0.3283, -0.9086, -0.8059, -0.7407, -0.0504, 0.5435, 1.5150),
    *(0.0141, 0.4532, 1.6349, 0.7124, -0.1806, 1.0252, -1.4622, -0.7554),
    *(-0.1836, 0.3824, 0.3918, -0.0830, 0.8971, -1.1123, 0.1116, 0.4863),
    *(-0.5499, -0.3231, -0.5469, 0.9049, 0.2837, 0.1210, 0.4730, -1.0823),
]
PRINTED = 6e-5  # four digits


def test_numbers_that_gpus_have_printed() -> None:
    torch.manual_seed(0)
    assert torch.rand(28, device="cuda").tolist() == pytest.approx(RAND, abs=PRINTED)
    assert torch.rand(10, device="cuda").tolist() == pytest.approx(SECOND_RAND, abs=PRINTED)
    torch.manual_seed(0)
    assert torch.randn(8, 8, device="cuda").flatten().tolist() == pytest.approx(RANDN, abs=PRINTED)
    # pytorch-deep-learning's issue 759
    torch.manual_seed(42)
    with torch.device("cuda"):
        linear = torch.nn.Linear(1, 1)
    assert [linear.weight.item(), linear.bias.item()] == pytest.approx([0.2259, 0.9754], abs=PRINTED)


#: Rows of torch.manual_seed(0); torch.rand(10000, 10000, device="cuda"), first and last three columns, as printed in
#: a repository of PyTorch basics. The last rows depend on how many threads the GPU runs: those of a T4 fit.
RAND_OF_T4 = {
    0: (0.3990, 0.5167, 0.0249, 0.9971, 0.8137, 0.0429),
    1: (0.1117, 0.5124, 0.6413, 0.2033, 0.4244, 0.7405),
    2: (0.7685, 0.7422, 0.4577, 0.5380, 0.1010, 0.4636),
    9997: (0.5471, 0.9743, 0.9763, 0.6386, 0.4802, 0.0591),
    9998: (0.4013, 0.6963, 0.8307, 0.6674, 0.3551, 0.0153),
    9999: (0.2846, 0.1924, 0.9891, 0.1611, 0.7280, 0.1510),
}


def test_numbers_that_a_t4_has_printed(run_python: RunPython) -> None:
    """Of 400 MB, only the steps of 4 * 40960 elements that hold these rows: an offset of 4 skips one."""
    program = f"""
    import torch
    step = 4 * 40 * 1024
    generator = torch.Generator("cuda").manual_seed(0)
    for row, expected in {RAND_OF_T4}.items():
        for column, number in zip((0, 1, 2, 9997, 9998, 9999), expected):
            place = row * 10000 + column
            generator.set_offset(place // step * 4)
            drawn = torch.rand(step, device="cuda", generator=generator)[place % step].item()
            assert abs(drawn - number) < 6e-5, (row, column, drawn, number)
    """
    run_python(program, TORCHDEVICE_PROFILE="t4")


@pytest.mark.parametrize("numel", [1, 255, 257, 5000, 221_184, 221_185, 900_000])
def test_uniform_numbers_bit_by_bit(numel: int) -> None:
    generator = torch.Generator("cuda").manual_seed(0x1234_5678_9ABC)
    generator.set_offset(40)
    *drawn, which = words(numel, 4, 0x1234_5678_9ABC, 40)
    number = uniform(np.choose(which, drawn))
    number = np.where(number == 1, np.float32(0), number)
    assert np.array_equal(torch.rand(numel, device="cuda", generator=generator).cpu().numpy(), number)
    assert generator.get_offset() == 40 + 4 * (1 + (numel - 1) // (4 * min(108 * 2048, -(-numel // 256) * 256)))


def test_double_numbers_bit_by_bit() -> None:
    a, b, c, d, which = words(300_000, 2, 3, 0)
    bits = np.where(which == 0, a ^ (b << np.uint64(21)), c ^ (d << np.uint64(21)))
    number = bits.astype(np.float64) * 2.0**-53 + 2.0**-54
    generator = torch.Generator("cuda").manual_seed(3)
    drawn = torch.rand(300_000, device="cuda", dtype=torch.double, generator=generator)
    assert np.array_equal(drawn.cpu().numpy(), np.where(number == 1, 0.0, number))


@pytest.mark.parametrize(("low", "high"), [(0, 10), (-5, 1 << 20), (0, 1 << 28), (-(1 << 40), 1 << 41)])
def test_integers_bit_by_bit(low: int, high: int) -> None:
    wide = high - low >= 1 << 28
    a, b, c, d, which = words(300_000, 2 if wide else 4, 9, 0)
    if wide:
        word = np.where(which == 0, a << np.uint64(32) | b, c << np.uint64(32) | d)
    else:
        word = np.choose(which, [a, b, c, d])
    expected = (word % np.uint64(high - low)).astype(np.int64) + low
    generator = torch.Generator("cuda").manual_seed(9)
    drawn = torch.randint(low, high, (300_000,), device="cuda", generator=generator)
    assert np.array_equal(drawn.cpu().numpy(), expected)


def test_bernoulli_trials_bit_by_bit() -> None:
    *drawn, which = words(5000, 4, 1, 0)
    number = uniform(np.choose(which, drawn))
    generator = torch.Generator("cuda").manual_seed(1)
    trials = torch.empty(5000, device="cuda").bernoulli_(0.3, generator=generator)
    assert np.array_equal(trials.cpu().numpy(), (number < np.float32(0.3)).astype(np.float32))
    # With a tensor of probabilities four neighbours share a thread.
    p = torch.linspace(0, 1, 5000)
    thread = np.arange(1250, dtype=np.uint64)
    number = uniform(np.stack(philox([thread * 0, thread * 0, thread, thread * 0], 1), 1).reshape(-1))
    trials = torch.bernoulli(p.cuda(), generator=generator.manual_seed(1))
    assert np.array_equal(trials.cpu().numpy(), (number <= p.numpy()).astype(np.float32))
    assert generator.get_offset() == 12


def test_memory_order_is_what_counts() -> None:
    def drawn(x: torch.Tensor) -> torch.Tensor:
        torch.cuda.manual_seed(5)
        return x.uniform_()

    plain = drawn(torch.empty(2, 3, 4, 5, device="cuda"))
    last = drawn(torch.empty(2, 3, 4, 5, device="cuda", memory_format=torch.channels_last))
    assert torch.equal(last.permute(0, 2, 3, 1).flatten(), plain.flatten())
    gaps = drawn(torch.zeros(120, 2, device="cuda")[:, 0])
    assert torch.equal(gaps, plain.flatten())
    holes = torch.zeros(12, 20, device="cuda")
    assert torch.equal(drawn(holes[:, ::2]).flatten(), plain.flatten())
    assert holes[:, 1::2].count_nonzero() == 0
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        torch.empty(1, device="cuda").expand(3).uniform_()


MOMENTS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], float, float]] = {
    "uniform_": (lambda x: x.uniform_(-1, 3), 1.0, 4 / math.sqrt(12)),
    "normal_": (lambda x: x.normal_(2, 3), 2.0, 3.0),
    "exponential_": (lambda x: x.exponential_(2.0), 0.5, 0.5),
    "geometric_": (lambda x: x.geometric_(0.4), 2.5, math.sqrt(0.6) / 0.4),
    "log_normal_": (lambda x: x.log_normal_(0, 0.5), math.exp(0.125), 0.6039),
    "bernoulli_": (lambda x: x.bernoulli_(0.25), 0.25, math.sqrt(0.1875)),
}


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16, torch.float, torch.double])
@pytest.mark.parametrize("name", MOMENTS)
def test_moments(name: str, dtype: torch.dtype) -> None:
    draw, mean, deviation = MOMENTS[name]
    torch.cuda.manual_seed(7)
    x = torch.empty(400_000, dtype=dtype, device="cuda")
    version = x._version
    assert draw(x) is x
    assert x._version == version + 1
    assert x.double().mean().item() == pytest.approx(mean, abs=0.02)
    assert x.double().std().item() == pytest.approx(deviation, rel=0.02)


def test_normal_numbers_by_their_distribution() -> None:
    torch.cuda.manual_seed(0)
    for dtype in (torch.float, torch.double):
        x = torch.randn(500_000, dtype=dtype, device="cuda").double()
        for point in (-2.0, -0.5, 0.0, 1.0, 2.5):
            expected = 0.5 * (1 + math.erf(point / math.sqrt(2)))
            assert (x < point).double().mean().item() == pytest.approx(expected, abs=0.003)
    cauchy = torch.empty(500_000, device="cuda").cauchy_(1.0, 2.0)
    assert cauchy.quantile(torch.tensor([0.25, 0.5, 0.75], device="cuda")).tolist() == pytest.approx(
        [-1, 1, 3], abs=0.05
    )


def test_complex_numbers_are_pairs() -> None:
    torch.manual_seed(0)
    z = torch.randn(4, dtype=torch.complex64, device="cuda")
    assert torch.view_as_real(z).flatten().tolist() == pytest.approx([x / math.sqrt(2) for x in RANDN[:8]], abs=PRINTED)


def test_exponential_numbers_of_half_precision_are_never_0() -> None:
    torch.cuda.manual_seed(0)
    x = torch.empty(1 << 24, dtype=torch.half, device="cuda").exponential_()
    assert x.min().item() >= 2.0**-24
    assert x.exponential_(torch.inf).max().item() == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: x.uniform_(2, 1), r"uniform_ expects to return a \[from, to\) range, but found from=2 > to=1"),
        (lambda x: x.normal_(0, -1), "normal expects std >= 0.0, but found std -1"),
        (lambda x: x.exponential_(0), "exponential_ expects lambda > 0.0, but found lambda=0"),
        (lambda x: x.geometric_(1), r"geometric_ expects p to be in \(0, 1\), but got p=1"),
        (lambda x: x.cauchy_(0, 0), "cauchy_ expects sigma > 0.0, but found sigma=0"),
        (lambda x: x.log_normal_(0, 0), "log_normal_ expects std > 0.0, but found std=0"),
        (lambda x: x.bernoulli_(2), r"bernoulli_ expects p to be in \[0, 1\], but got p=2"),
        (lambda x: torch.bernoulli(x + 2), r"bernoulli_ expects p to be in \[0, 1\], but got p=2"),
        (lambda x: x.random_(3, 3), "random_ expects 'from' to be less than 'to', but got from=3 >= to=3"),
        (lambda x: x.long().uniform_(), "not implemented for 'Long'"),
        (lambda x: x.long().exponential_(), "Exponential distribution is a continuous probability distribution"),
    ],
)
def test_errors_leave_tensor_and_generator_alone(call: Callable[[torch.Tensor], object], message: str) -> None:
    x = torch.zeros(3, device="cuda")
    with pytest.raises(RuntimeError, match=message):
        call(x)
    assert x.count_nonzero() == 0


def test_empty_tensors_draw_nothing() -> None:
    before = torch.cuda.get_rng_state()
    torch.rand(0, device="cuda")
    torch.randn(0, 3, device="cuda")
    assert torch.equal(before, torch.cuda.get_rng_state())
