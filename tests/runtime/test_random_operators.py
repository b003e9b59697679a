"""Every random operator draws from the generator of its device, and from no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F  # noqa: N812
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

Draw = Callable[[str], Any]


def ones(device: str) -> torch.Tensor:
    return torch.ones(3, 4, device=device)


def halves(device: str) -> torch.Tensor:
    return torch.full((3, 4), 0.5, device=device)


DRAWS: dict[str, Draw] = {
    "rand": lambda d: torch.rand(3, device=d),
    "rand of half": lambda d: torch.rand(3, device=d, dtype=torch.half),
    "randn": lambda d: torch.randn(3, device=d),
    "randn of complex": lambda d: torch.randn(3, device=d, dtype=torch.complex64),
    "randint": lambda d: torch.randint(9, (3,), device=d),
    "randperm": lambda d: torch.randperm(9, device=d),
    "randperm of many": lambda d: torch.randperm(50_000, device=d),
    "rand_like": lambda d: torch.rand_like(ones(d)),
    "randn_like": lambda d: torch.randn_like(ones(d)),
    "randint_like": lambda d: torch.randint_like(ones(d), 5),
    "bernoulli": lambda d: torch.bernoulli(halves(d)),
    "bernoulli of p": lambda d: torch.bernoulli(ones(d), 0.3),
    "bernoulli_": lambda d: ones(d).bernoulli_(0.3),
    "bernoulli_ of a tensor": lambda d: ones(d).bernoulli_(halves(d)),
    "multinomial": lambda d: torch.multinomial(halves(d), 2),
    "multinomial with replacement": lambda d: torch.multinomial(halves(d), 9, True),
    "normal of floats": lambda d: torch.normal(0.0, 1.0, (3,), device=d),
    "normal of tensor, float": lambda d: torch.normal(ones(d), 1.0),
    "normal of float, tensor": lambda d: torch.normal(0.0, ones(d)),
    "normal of tensors": lambda d: torch.normal(ones(d), ones(d)),
    "normal_": lambda d: ones(d).normal_(),
    "exponential_": lambda d: ones(d).exponential_(),
    "geometric_": lambda d: ones(d).geometric_(0.4),
    "cauchy_": lambda d: ones(d).cauchy_(),
    "log_normal_": lambda d: ones(d).log_normal_(),
    "uniform_": lambda d: ones(d).uniform_(),
    "random_": lambda d: ones(d).random_(),
    "random_ to": lambda d: ones(d).random_(9),
    "random_ from, to": lambda d: ones(d).random_(3, 9),
    "poisson": lambda d: torch.poisson(ones(d)),
    "binomial": lambda d: torch.binomial(ones(d) * 5, halves(d)),
    "dropout": lambda d: F.dropout(ones(d)),
    "dropout_": lambda d: F.dropout(ones(d), inplace=True),
    "native_dropout": lambda d: torch.native_dropout(ones(d), 0.5, True),
    "alpha_dropout": lambda d: F.alpha_dropout(ones(d), training=True),
    "dropout2d": lambda d: F.dropout2d(torch.ones(2, 3, 4, 4, device=d)),
    "rrelu": lambda d: F.rrelu(-ones(d), training=True),
    "_standard_gamma": lambda d: torch._standard_gamma(ones(d)),
    "_sample_dirichlet": lambda d: torch._sample_dirichlet(ones(d)),
    "fractional_max_pool2d": lambda d: F.fractional_max_pool2d(torch.ones(1, 2, 8, 8, device=d), 2, (4, 4)),
    "fractional_max_pool3d": lambda d: F.fractional_max_pool3d(torch.ones(1, 2, 8, 8, 8, device=d), 2, (4, 4, 4)),
    "attention with dropout": lambda d: F.scaled_dot_product_attention(  # type: ignore[misc]
        *[torch.ones(1, 1, 3, 4, device=d)] * 3, dropout_p=0.5
    ),
    "gumbel_softmax": lambda d: F.gumbel_softmax(ones(d)),
    "trunc_normal_": lambda d: torch.nn.init.trunc_normal_(ones(d)),
    "svd_lowrank": lambda d: torch.svd_lowrank(ones(d))[1],
}


def states() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.get_rng_state(), torch.cuda.get_rng_state()


@pytest.mark.parametrize("name", DRAWS)
def test_a_draw_moves_its_own_generator_alone(name: str) -> None:
    draw = DRAWS[name]
    for device in ("cuda", "cpu"):
        before = states()
        draw(device)
        moved = [not torch.equal(a, b) for a, b in zip(before, states(), strict=True)]
        assert moved == [device == "cpu", device == "cuda"], device


@pytest.mark.parametrize("name", DRAWS)
def test_a_seed_gives_the_same_numbers_with_any_number_of_threads(name: str) -> None:
    draw = DRAWS[name]
    threads = torch.get_num_threads()
    results = []
    for count in (threads, threads, 1):
        torch.set_num_threads(count)
        torch.manual_seed(5)
        results.append([leaf.cpu() for leaf in pytree.tree_leaves(draw("cuda"))])
    torch.set_num_threads(threads)
    offset = torch.cuda.default_generators[0].get_offset()
    assert offset > 0
    assert offset % 4 == 0
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


WITH_GENERATOR: dict[str, Callable[[str, torch.Generator], torch.Tensor]] = {
    "rand": lambda d, g: torch.rand(3, device=d, generator=g),
    "randn": lambda d, g: torch.randn(3, device=d, generator=g),
    "randint": lambda d, g: torch.randint(9, (3,), device=d, generator=g),
    "bernoulli": lambda d, g: torch.bernoulli(halves(d), generator=g),
    "multinomial": lambda d, g: torch.multinomial(halves(d), 2, generator=g),
    "normal": lambda d, g: torch.normal(ones(d), 1.0, generator=g),
    "poisson": lambda d, g: torch.poisson(ones(d), generator=g),
    "uniform_": lambda d, g: ones(d).uniform_(generator=g),
    "exponential_": lambda d, g: ones(d).exponential_(generator=g),
}


@pytest.mark.parametrize("name", WITH_GENERATOR)
def test_generators_of_another_device_are_refused(name: str) -> None:
    draw = WITH_GENERATOR[name]
    before = states()
    for device, other in (("cuda", "cpu"), ("cpu", "cuda")):
        own = torch.Generator(device).manual_seed(3)
        first = draw(device, own)
        assert first.device.type == device
        assert torch.equal(first, draw(device, own.manual_seed(3)))
        text = f"^Expected a '{device}' device type for generator but found '{other}'"
        with pytest.raises(RuntimeError, match=text):
            draw(device, torch.Generator(other))
    assert all(torch.equal(a, b) for a, b in zip(before, states(), strict=True))


def test_fork_rng_leaves_no_trace() -> None:
    before = states()
    for options in ({}, {"devices": [0]}, {"device_type": "cuda"}, {"devices": ["cuda:0"]}):
        with torch.random.fork_rng(**options):
            torch.manual_seed(1)
            torch.rand(3, device="cuda")
            torch.rand(3)
        assert all(torch.equal(a, b) for a, b in zip(before, states(), strict=True))
    with torch.random.fork_rng(enabled=False):
        torch.rand(3, device="cuda")
    assert not torch.equal(before[1], torch.cuda.get_rng_state())


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("preserve", [True, False])
def test_checkpoint_repeats_the_numbers_of_forward(reentrant: bool, preserve: bool) -> None:
    masks: list[torch.Tensor] = []

    def block(x: torch.Tensor) -> torch.Tensor:
        masks.append((F.dropout(torch.ones_like(x)) > 0).cpu())
        return x * F.dropout(torch.ones_like(x))

    x = torch.ones(64, device="cuda", requires_grad=True)
    y = checkpoint(block, x, use_reentrant=reentrant, preserve_rng_state=preserve)
    after = torch.cuda.get_rng_state()
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(masks[0], masks[1]) == preserve
    assert torch.equal(x.grad, y.detach()) == preserve
    if preserve:
        assert torch.equal(torch.cuda.get_rng_state(), after)


def test_seeds_before_the_first_use_of_cuda_and_several_devices(run_python: Callable[..., Any]) -> None:
    run_python(
        """
        import os
        import torch

        torch.cuda.manual_seed_all(7)  # kept until CUDA is used
        torch.cuda.manual_seed(8)
        assert not torch.cuda.is_initialized()
        a = [torch.rand(3, device=f"cuda:{i}") for i in (0, 1)]
        assert [g.initial_seed() for g in torch.cuda.default_generators] == [8, 7]
        torch.cuda.manual_seed_all(7)
        assert torch.equal(torch.rand(3, device="cuda:1"), a[1])
        torch.rand(3, device="cuda:0")
        states = torch.cuda.get_rng_state_all()
        b = [torch.rand(3, device=f"cuda:{i}").cpu() for i in (0, 1)]
        assert torch.equal(torch.rand(3, device="cuda:0").cpu(), torch.rand(3, device="cuda:1").cpu())
        with torch.random.fork_rng(devices=[0, 1]):
            torch.rand(3, device="cuda:1")
            torch.manual_seed(1)
        torch.cuda.set_rng_state_all(states)
        with torch.cuda.device(1):
            assert torch.equal(torch.rand(3, device="cuda").cpu(), b[1])
            assert torch.equal(torch.cuda.get_rng_state("cuda:0"), states[0])
            torch.cuda.manual_seed(3)
            assert torch.cuda.initial_seed() == 3
        assert torch.cuda.default_generators[0].initial_seed() == 7
        torch.manual_seed(11)
        expected = torch.rand(3, device="cuda").tolist()
        torch.manual_seed(11)
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.write(writer, repr(torch.rand(3, device="cuda").tolist()).encode())
            os._exit(0)
        os.wait()
        assert eval(os.read(reader, 1000)) == expected
        assert torch.rand(3, device="cuda").tolist() == expected
        """,
        TORCHDEVICE_COUNT="2",
        TORCHDEVICE_FORK="allow",
    )
