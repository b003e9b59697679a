"""The GPUs' published rates agree with each other as their architectures do."""

from __future__ import annotations

import pytest

from torchdevice.fit.beside import beside
from torchdevice.fit.gpus import GPUS

#: Tensor cores' rate in half precision over that of TF32, and of float32 over float64, by architecture.
_HALF_OVER_TF32 = {"a100": 2, "a100-40gb": 2, "a10g": 2, "rtx3090": 2, "l4": 2, "l40s": 2, "rtx4090": 2, "h100": 2,
                   "h200": 2, "rtx5090": 2}  # fmt: skip
_FLOAT32_OVER_FLOAT64 = {"v100": 2, "t4": 32, "a100": 2, "a100-40gb": 2, "a10g": 64, "rtx3090": 64, "l4": 64,
                         "l40s": 64, "rtx4090": 64, "h100": 2, "h200": 2, "rtx5090": 64}  # fmt: skip
#: Multiprocessors, GHz, and products of float32 a clock in each.
_FLOAT32 = {"v100": (80, 1.53, 64), "t4": (40, 1.59, 64), "a100": (108, 1.41, 64), "a100-40gb": (108, 1.41, 64),
            "a10g": (80, 1.71, 128), "rtx3090": (82, 1.695, 128), "l4": (58, 2.04, 128), "l40s": (142, 2.52, 128),
            "rtx4090": (128, 2.52, 128), "h100": (132, 1.98, 128), "h200": (132, 1.98, 128),
            "rtx5090": (170, 2.407, 128)}  # fmt: skip
#: Bits of the bus, and 10^9 transfers a second on each.
_BUS = {"v100": (4096, 1.75), "t4": (256, 10.0), "a10g": (384, 12.5), "rtx3090": (384, 19.5), "l4": (192, 12.5),
        "l40s": (384, 18), "rtx4090": (384, 21), "rtx5090": (512, 28), "a100": (5120, 3.186),
        "a100-40gb": (5120, 2.43)}  # fmt: skip


def test_ratios() -> None:
    for name, ratio in _HALF_OVER_TF32.items():
        assert GPUS[name].half / GPUS[name].tf32 == pytest.approx(ratio, rel=0.01), name
    for name, ratio in _FLOAT32_OVER_FLOAT64.items():
        assert GPUS[name].float32 / GPUS[name].float64 == pytest.approx(ratio, rel=0.02), name
    for name, gpu in GPUS.items():
        assert gpu.float8 is None or gpu.float8 / gpu.half == pytest.approx(2, rel=0.01), name


def test_rates_are_clock_times_units() -> None:
    assert set(_FLOAT32) == set(GPUS)
    for name, (units, clock, width) in _FLOAT32.items():
        assert GPUS[name].float32 == pytest.approx(2e-3 * units * clock * width, rel=0.01), name


def test_bandwidth_is_clock_times_bits() -> None:
    for name, (bits, rate) in _BUS.items():
        assert GPUS[name].bandwidth == pytest.approx(bits / 8 * rate, rel=0.01), name


def test_a_card_keeps_up_to_a_tenth_of_its_memory() -> None:
    for name, gpu in GPUS.items():
        kept = beside(name)[0]
        assert kept.what == "kept by the card and its driver"
        assert 0 < kept.bytes < 0.1 * gpu.memory, name
