"""CUDA's generators: their 16 bytes of state, their rules, and numbers that depend on seed and offset alone."""

from __future__ import annotations

import threading

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tests.conftest import RunPython


def numbers(count: int = 1000) -> torch.Tensor:
    return torch.rand(count, device="cuda")


def test_state_is_seed_and_offset() -> None:
    generator = torch.Generator("cuda").manual_seed(0x0123456789ABCDEF)
    generator.set_offset(8)
    state = generator.get_state()
    assert state.device.type == "cpu"
    assert state.dtype == torch.uint8
    assert state.view(torch.int64).tolist() == [0x0123456789ABCDEF, 8]


def test_a_new_generator_has_torchs_default_seed() -> None:
    generator = torch.Generator("cuda")
    assert generator.device == torch.device("cuda:0")
    assert generator.initial_seed() == 67280421310721
    assert generator.get_offset() == 0


def test_every_operator_advances_the_offset_by_a_multiple_of_four() -> None:
    generator = torch.Generator("cuda").manual_seed(1)
    offsets = []
    for _ in range(3):
        torch.rand(5, generator=generator, device="cuda")
        offsets.append(generator.get_offset())
    assert all(offset % 4 == 0 for offset in offsets)
    assert 0 < offsets[0] < offsets[1] < offsets[2]


def test_seeding_starts_again() -> None:
    torch.cuda.manual_seed(3)
    first = numbers()
    second = numbers()
    torch.cuda.manual_seed(3)
    assert torch.equal(numbers(), first)
    assert not torch.equal(first, second)


def test_torch_manual_seed_reaches_cuda() -> None:
    torch.manual_seed(11)
    first = numbers()
    torch.manual_seed(11)
    assert torch.equal(numbers(), first)


def test_state_can_be_saved_and_restored() -> None:
    state = torch.cuda.get_rng_state()
    first = numbers()
    torch.cuda.set_rng_state(state)
    assert torch.equal(numbers(), first)
    with torch.random.fork_rng():
        numbers()
    after_fork = torch.cuda.get_rng_state()
    torch.cuda.set_rng_state(state)
    numbers()
    assert torch.equal(torch.cuda.get_rng_state(), after_fork)


def test_operators_without_streams_of_cuda_draw_from_philox_too() -> None:
    """The first words of Philox-4x32-10 for key 0 and counter 0 (Random123's known answers), through the Mersenne
    twister's tempering and, two at a time, into the 53 bits of a double."""

    def tempered(word: int) -> int:
        word ^= word >> 11
        word ^= (word << 7) & 0x9D2C5680
        word ^= (word << 15) & 0xEFC60000
        return word ^ (word >> 18)

    torch.cuda.manual_seed(0)
    slopes = F.rrelu(torch.full((2,), -1.0, dtype=torch.double, device="cuda"), 0.0, 1.0, training=True)
    a, b, c, d = (tempered(word) for word in (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8))
    assert (-slopes).tolist() == [((high << 32 | low) & (2**53 - 1)) / 2**53 for high, low in ((a, b), (c, d))]


def test_different_seeds_and_offsets_give_different_numbers() -> None:
    generator = torch.Generator("cuda")
    seen = set()
    for seed in (0, 1, 2**32, 2**63):
        for offset in (0, 4, 2**32):
            generator.manual_seed(seed)
            generator.set_offset(offset)
            seen.add(tuple(torch.rand(4, generator=generator, device="cuda").tolist()))
    assert len(seen) == 12


def test_a_normal_number_left_over_is_not_used_by_the_next_operator() -> None:
    torch.cuda.manual_seed(5)
    torch.randn(1, device="cuda")
    second = torch.randn(1, device="cuda")
    torch.cuda.manual_seed(5)
    torch.randn(2, device="cuda")
    assert torch.equal(torch.randn(1, device="cuda"), second)


def test_numbers_do_not_depend_on_threads() -> None:
    results = []

    def draw() -> None:
        generator = torch.Generator("cuda").manual_seed(9)
        results.append(torch.randn(100_000, generator=generator, device="cuda"))

    threads = torch.get_num_threads()
    draw()
    worker = threading.Thread(target=draw)
    worker.start()
    worker.join()
    torch.set_num_threads(1)
    try:
        draw()
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_cpu_numbers_are_left_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    numbers()
    torch.randn(7, device="cuda")
    assert torch.equal(torch.rand(3), expected)


def test_a_clone_goes_its_own_way() -> None:
    generator = torch.Generator("cuda").manual_seed(4)
    torch.rand(1, generator=generator, device="cuda")
    clone = generator.clone_state()
    assert torch.equal(clone.get_state(), generator.get_state())
    torch.rand(1, generator=generator, device="cuda")
    assert clone.get_offset() < generator.get_offset()


def test_graphsafe_state_is_shared() -> None:
    generator = torch.Generator("cuda").manual_seed(4)
    twin = torch.Generator("cuda")
    twin.graphsafe_set_state(generator.graphsafe_get_state())
    torch.rand(1, generator=generator, device="cuda")
    assert torch.equal(twin.get_state(), generator.get_state())


def test_wrong_states_raise_cudas_errors() -> None:
    generator = torch.Generator("cuda")
    with pytest.raises(RuntimeError, match="^offset must be a multiple of 4"):
        generator.set_offset(3)
    with pytest.raises(RuntimeError, match="^RNG state is wrong size"):
        generator.set_state(torch.zeros(12, dtype=torch.uint8))
    with pytest.raises(TypeError, match="RNG state must be a torch.ByteTensor"):
        generator.set_state(torch.zeros(16))
    with pytest.raises(RuntimeError, match="^The device_index is invalid"):
        torch.Generator("cuda:7")


def test_the_seed_alone_is_a_state() -> None:
    generator = torch.Generator("cuda").manual_seed(1)
    generator.set_offset(40)
    generator.set_state(torch.tensor([77], dtype=torch.int64).view(torch.uint8))
    assert generator.initial_seed() == 77
    assert generator.get_offset() == 0


@pytest.mark.skipif(not hasattr(torch.Generator, "philox_state"), reason="came with torch 2.14")
def test_numbers_can_be_reserved_for_a_programs_own_kernels() -> None:
    generator = torch.Generator("cuda").manual_seed(2**63 + 5)
    generator.set_offset(8)
    seed, offset, intragraph = generator.philox_state(5)
    assert [(t.device.type, t.dtype, t.shape) for t in (seed, offset, intragraph)] == [("cpu", torch.int64, (1,))] * 3
    assert (seed.item() & (2**64 - 1), offset.item(), intragraph.item()) == (2**63 + 5, 8, 0)
    assert generator.get_offset() == 16
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        torch.ones(1, device="cuda")
        with pytest.raises(NotImplementedError) as error:
            generator.philox_state(4)
    assert str(error.value).startswith(
        "torch.Generator.philox_state() during the capture of a CUDA graph: torchdevice has no memory of a GPU that a "
        "replay could write the seed and the offset to; reserve the numbers before the capture, or draw them with "
        "torch's own functions."
    )


def test_every_device_has_its_own_default_generator(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        torch.cuda.manual_seed_all(1)
        a = torch.rand(3, device="cuda:0")
        b = torch.rand(3, device="cuda:1")
        assert torch.equal(a.cpu(), b.cpu())
        torch.rand(3, device="cuda:1")
        assert torch.cuda.get_rng_state("cuda:0").tolist() != torch.cuda.get_rng_state("cuda:1").tolist()
        assert [g.device.index for g in torch.cuda.default_generators] == [0, 1]
        """,
        TORCHDEVICE_COUNT="2",
    )


def test_processes_start_with_different_seeds(run_python: RunPython) -> None:
    code = "import torch; torch.cuda.init(); print(torch.cuda.initial_seed())"
    assert run_python(code).stdout != run_python(code).stdout
