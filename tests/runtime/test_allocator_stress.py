"""The allocator under many operators, failures, threads, streams and devices: nothing leaks, nothing is shared."""

from __future__ import annotations

from tests.conftest import RunPython


def test_ten_thousand_operators_leave_nothing_behind(run_python: RunPython) -> None:
    """Half of them fail; afterwards memory_allocated() and the process's size are what they were."""
    run_python("""
        import gc, resource, torch
        def rss():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * resource.getpagesize()
        try:
            rss()
        except FileNotFoundError:
            raise SystemExit(0)  # only Linux tells
        x, y = torch.ones(64, 64, device="cuda"), torch.ones(63, 63, device="cuda")
        cpu = torch.ones(64, 64)
        failing = [
            lambda: x @ y,
            lambda: x + y,
            lambda: x + cpu,
            lambda: torch.empty(1 << 50, device="cuda"),
            lambda: torch.cat([x, y]),
            lambda: x.view(7, 7),
            lambda: torch.linalg.cholesky(-x),
            lambda: x.index_select(0, torch.tensor([99], device="cuda")),
        ]
        succeeding = [lambda: x @ x, lambda: x + 1, lambda: x.sum(), lambda: torch.relu(x), lambda: x.sort()]
        def round_of(n):
            for i in range(n):
                succeeding[i % len(succeeding)]()
                try:
                    failing[i % len(failing)]()
                except (RuntimeError, IndexError):
                    pass
                else:
                    raise SystemExit(f"operator {i % len(failing)} did not fail")
        round_of(500)
        gc.collect()
        allocated, size = torch.cuda.memory_allocated(), rss()
        round_of(5000)
        gc.collect()
        assert torch.cuda.memory_allocated() == allocated
        assert rss() - size < 8 << 20, rss() - size
    """)


def test_threads_streams_devices_and_pools_at_once(run_python: RunPython) -> None:
    run_python(
        """
        import random, threading, time, torch
        end = time.monotonic() + 3
        errors = []
        pools = [torch.cuda.MemPool() for _ in range(2)]
        def work(seed):
            rng = random.Random(seed)
            streams = {d: [torch.cuda.default_stream(d), torch.cuda.Stream(d)] for d in range(2)}
            live, rounds = [], 0
            try:
                while time.monotonic() < end:
                    rounds += 1
                    device = rng.randrange(2)
                    with torch.cuda.device(device), torch.cuda.stream(rng.choice(streams[device])):
                        nbytes = rng.choice([100, 5000, 300_000, 2 << 20])
                        if seed == 0 and rng.random() < 0.2:
                            with torch.cuda.use_mem_pool(pools[0], device=0):
                                tensor = torch.empty(nbytes, dtype=torch.uint8, device="cuda:0")
                        else:
                            tensor = torch.empty(nbytes, dtype=torch.uint8, device="cuda")
                        tensor[:64] = seed
                        tensor[-1] = seed
                    live.append(tensor)
                    action = rng.random()
                    if action < 0.02:
                        tensor.record_stream(rng.choice(streams[tensor.device.index]))
                    elif action < 0.025:
                        torch.cuda.empty_cache()
                    elif action < 0.03:
                        torch.cuda.memory_snapshot(), torch.cuda.memory_stats()
                    elif action < 0.032 and seed == 1:
                        torch.cuda.memory._record_memory_history(rng.choice([None, "all"]), max_entries=50)
                    if len(live) > 30:
                        tensor = live.pop(rng.randrange(len(live)))
                        if int(tensor[0]) != seed or int(tensor[63]) != seed or int(tensor[-1]) != seed:
                            errors.append(f"thread {seed}: somebody else wrote to its memory")
                            return
            except BaseException as error:
                errors.append(f"thread {seed}: {type(error).__name__}: {error}")
            live.clear()
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert not errors, errors
        torch.cuda.memory._record_memory_history(None)
        del pools
        torch.cuda.empty_cache()
        for device in range(2):
            stats = torch.cuda.memory_stats(device)
            assert torch.cuda.memory_allocated(device) == torch.cuda.memory_reserved(device) == 0, stats
            assert stats["active.all.current"] == stats["inactive_split_bytes.all.current"] == 0
        """,
        TORCHDEVICE_COUNT="2",
    )
