"""`torchdevice fit --html`: the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fit import programs
from tests.fit.test_command import fit, write
from tests.package.test_pages_in_a_browser import BROWSER, check_on_a_phone
from tests.package.test_run_page import Structure, data_of
from torchdevice.fit import page
from torchdevice.fit.observed import COLUMNS
from torchdevice.fit.record import Peak, Read, Record, Work


def test_a_training(tmp_path: Path) -> None:
    target = tmp_path / "fit.html"
    program = write(tmp_path, programs.GPT + "loss = None; torch.ones(1, device='cuda').item()\n")
    done = fit("--profile", "h100", "--html", target, program, "<b>")
    assert done.returncode == 0, done.stderr
    text = target.read_text()
    assert "<title>program.py on h100, a dry run</title>" in text
    data = data_of(text)
    assert data["program"] == f"{program} <b>"
    assert data["summary"].startswith("fits: 48.0 MiB reserved and ")
    (device,) = data["devices"]
    kinds, curve = dict(device["kinds"]), dict(device["curve"])
    assert {"parameters", "optimizer state", "activations"} <= set(kinds)
    assert {"gradients", *kinds} <= set(curve)
    assert {len(row) for row in curve.values()} == {COLUMNS}
    moments = [dict(zip(curve, moment, strict=True)) for moment in zip(*curve.values(), strict=True)]
    peak = max(moments, key=lambda moment: sum(moment.values()))
    assert {kind: size for kind, size in peak.items() if size} == kinds
    assert sum(kinds.values()) == device["allocated"] == 31534080
    assert sum(seconds for _name, seconds in device["parts"]) == pytest.approx(device["lower"])
    assert "mm" in {name for name, *_ in device["operators"][:10]}
    assert [(what, count) for what, _where, count in data["reads"]] == [("item", 1)]
    assert (data["notes"], data["basis"][:6]) == ([], "lower:")


def test_a_program_without_a_device(tmp_path: Path) -> None:
    target = tmp_path / "fit.html"
    assert fit("--profile", "t4", "--html", target, write(tmp_path, "import sys; sys.exit('no')")).returncode == 1
    data = data_of(target.read_text())
    assert (data["devices"], data["notes"]) == ([], ["The program failed; all figures are of what came before."])


def test_a_search_has_no_page(tmp_path: Path) -> None:
    done = fit("--profile", "t4", "--search", "n=1..2", "--html", tmp_path / "a.html", __file__, "{n}")
    assert done.returncode == 2
    assert (
        "torchdevice fit: --html is of one run: search without it, then run the program with the value" in done.stderr
    )


def _long() -> Record:
    """A run that filled everything that is bounded."""
    place = f"/home/somebody/{'folder/' * 12}train.py:123 step"
    kinds = {f"a kind that is {i} of 12": (1 << 33) + i for i in range(12)}
    record = Record(seconds=1e4, steps=10**6, ending="failed", error="ValueError: </script>", ooms=2, resident=1 << 40)
    for i in range(64):
        modules = {f"Model.layers.*.{'block.' * 10}{j}": 10**9 for j in range(300)}
        curve = {kind: [size + j for j in range(COLUMNS)] for kind, size in kinds.items()}
        peak = Peak(i, 1 << 40, 1 << 41, 1 << 39, dict(kinds), modules, [place] * 90, curve, 1e4, is_cut=True)
        record.peaks.append(peak)
        record.work += [Work(f"operator_{j}", i, 10**9, 10**6, 10**15, 10**12, "bfloat16", "") for j in range(60)]
    record.reads = [Read("copy to the host", place, 10**9)] * 1000
    return record


def test_it_stays_small_and_needs_nothing_else() -> None:
    text = page.to_html(_long(), "h100", ["train.py", "<b>"])
    assert len(text.encode()) < 2_000_000
    structure = Structure()
    structure.feed(text)
    assert (structure.open, structure.loads) == ([], [])
    assert '<meta name="viewport" content="width=device-width">' in text


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here")
def test_it_in_a_browser(tmp_path: Path) -> None:
    body = check_on_a_phone(page.to_html(_long(), "h100", ["train.py", "<b>"]), tmp_path)
    assert body.count("<svg") == 64
    curve = re.search(r"<svg.*?</svg>", body, re.DOTALL)
    assert curve is not None
    assert len(re.findall(r'<path d="M[^"]', curve[0])) == 12
    kinds = re.search(r'id="kinds-cuda:0">(.*?)</table>', body, re.DOTALL)
    assert kinds is not None
    assert kinds[1].count("<tr>") == 1 + 12
    assert "a kind that is 3 of 12</td><td" in kinds[1]
    assert body.count('id="operators-cuda:') == 64
    assert "train.py &lt;b&gt;" in body
    assert "The program failed; all figures are of what came before. ValueError: &lt;/script&gt;" in body
    assert "It was refused memory of the device, and went on, 2 x" in body
