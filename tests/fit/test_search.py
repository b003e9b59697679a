"""`torchdevice fit --search batch=1..512`: the largest value that fits."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.fit.test_command import fit, started, write
from torchdevice.fit.record import Peak, Record
from torchdevice.fit.run import LostError
from torchdevice.fit.search import Range, Search

#: A GiB for each of a batch; an H100 has room for 77 beside what it takes itself.
_PROGRAM = """
import sys, torch
print("noise", sys.argv[1:])
batch = int(sys.argv[1].removeprefix("--batch="))
if batch == 7: raise ValueError("not 7")
kept = torch.empty(batch << 30, dtype=torch.uint8, device="cuda")
"""


def _record(gib: int, **more: object) -> Record:
    record = Record(peaks=[Peak(0, gib << 30, gib << 30)])
    for name, value in more.items():
        setattr(record, name, value)
    return record


@pytest.mark.parametrize(
    ("first", "last", "largest", "status"),
    [(1, 512, 77, 0), (0, 77, 77, 0), (77, 78, 77, 0), (77, 77, 77, 0), (78, 78, None, 4), (1, 10**18 - 1, 77, 0)],
)
def test_the_answer_and_the_next_value_are_tried(first: int, last: int, largest: int | None, status: int) -> None:
    search = Search(Range("batch", first, last), "h100")
    search.look(_record)
    assert (search.largest, search.status, search.ending) == (largest, status, "")
    assert len(search.records) <= 60
    if largest is None:
        assert "\nNONE FITS: not even batch=78 does.\n" in search.text()
    elif largest == last:
        assert "\nThe largest that fits: batch=77, the last of the range.\n" in search.text()
    else:
        assert {largest, largest + 1} <= set(search.records)
        assert "\nThe largest that fits: batch=77. batch=78 does not.\n" in search.text()


def test_a_search_that_ends_early_says_what_it_knows() -> None:
    def attempt(value: int) -> Record:
        if value == 64:
            raise KeyboardInterrupt
        return _record(value)

    search = Search(Range("batch", 1, 255), "h100")
    search.look(attempt)
    assert (search.largest, search.smallest, search.status) == (None, 128, 130)
    assert "The search was interrupted.\nSo far: no value yet fits, batch=128 does not.\n" in search.text()
    search = Search(Range("batch", 1, 255), "h100")
    search.look(lambda value: _record(value) if value == 128 else _record(value, ending="interrupted", status=143))
    assert (search.status, search.ending) == (143, "The search was interrupted.")

    def lost(value: int) -> Record:
        raise LostError(-9)

    search.look(lost)
    assert (search.status, search.ending) == (143, "The search was interrupted.")
    search = Search(Range("batch", 1, 255), "h100")
    search.look(lost)
    assert (search.status, search.ending) == (137, "batch=128: the program left no record; it was ended by SIGKILL")
    assert "Nothing is known of what fits." in search.text()


def test_memory_that_ran_out_does_not_fit_and_a_limit_of_addresses_is_no_verdict() -> None:
    search = Search(Range("n", 1, 7), "h100")
    search.look(lambda value: _record(value, ooms=int(value > 2), ending="failed" if value > 2 else "ended", status=1))
    assert (search.largest, search.smallest, search.status) == (2, 3, 0)
    search = Search(Range("n", 1, 7), "h100")
    search.look(lambda value: _record(value, ooms=1, address_space=1 << 30))
    assert (search.largest, search.smallest, search.status) == (None, None, 1)
    assert "n=4: it may be the process's address space that ran out (ulimit -v)" in search.text()


def test_a_program(tmp_path: Path) -> None:
    target = tmp_path / "fit.json"
    program = write(tmp_path, _PROGRAM)
    done = fit("--profile", "h100", "--search", "batch=75..79", "--json", target, program, "--batch={batch}", "{x}")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.splitlines()[:3] == [
        "torchdevice fit: batch=77 fits",
        "torchdevice fit: batch=78 does not fit",
        "torchdevice fit: h100, batch from 75 to 79",
    ]
    assert "            78    78.00 GiB    78.00 GiB  does not fit\n" in done.stderr
    assert "\nThe largest that fits: batch=77. batch=78 does not.\n" in done.stderr
    data = json.loads(target.read_text())
    assert data["search"] == {"name": "batch", "first": 75, "last": 79, "largest": 77, "ending": ""}
    assert [(one["value"], one["fits"], one["devices"][0]["allocated"]) for one in data["tried"]] == [
        (77, True, 77 << 30),
        (78, False, 78 << 30),
    ]


def test_a_program_that_fails(tmp_path: Path) -> None:
    done = fit("--profile", "h100", "--search", "batch=6..8", write(tmp_path, _PROGRAM), "--batch={batch}")
    assert done.returncode == 1
    assert "noise ['--batch=7']" in done.stderr
    assert "The program failed with batch=7: ValueError: not 7\nNothing is known of what fits.\n" in done.stderr


def test_an_interrupted_search(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = (
        _PROGRAM + f"if batch > 1:\n    import pathlib, time\n    pathlib.Path({str(ready)!r}).touch(); time.sleep(99)"
    )
    process = started(ready, "--profile", "h100", "--search", "batch=0..2", write(tmp_path, code), "{batch}")
    os.killpg(process.pid, signal.SIGINT)
    _out, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "The search was interrupted.\nSo far: batch=1 fits, none yet does not.\n" in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch", "must be NAME=FIRST..LAST in whole numbers, such as batch=1..512, got 'batch'"),
        ("batch=1..x", "must be NAME=FIRST..LAST in whole numbers, such as batch=1..512, got 'batch=1..x'"),
        ("batch=-1..5", "must be NAME=FIRST..LAST in whole numbers, such as batch=1..512, got 'batch=-1..5'"),
        ("=1..5", "must be NAME=FIRST..LAST in whole numbers, such as batch=1..512, got '=1..5'"),
        ("batch=5..1", "has no numbers: 5 is more than 1, in 'batch=5..1'"),
        ("size=1..5", "no argument of the program has {size}, for --search to put values there: --size {size}"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    done = fit("--profile", "h100", "--search", text, __file__, "{batch}")
    assert done.returncode == 2
    assert message in done.stderr
