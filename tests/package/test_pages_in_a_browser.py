"""The HTML pages in a real browser, Chromium without a window: they show what they should, on a phone too, offline."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from datetime import date
from pathlib import Path

import pytest

from tests.package.test_run_page import long_run
from torchdevice.reports import page
from torchdevice.testing.suite import pages as suite_pages
from torchdevice.testing.suite.journal import Journal, Result
from torchdevice.testing.suite.plan import Plan, Unit
from torchdevice.testing.suite.profile import Profile
from torchdevice.testing.suite.verdicts import Comparison, Row

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here")
#: Of a phone, in points.
PHONE = 390


def shown(path: Path) -> str:
    """The page as it is once its scripts have run; an error of theirs is the document's title."""
    assert BROWSER is not None
    profile = f"--user-data-dir={path.parent / 'profile'}"
    alone = ["--no-sandbox", "--disable-gpu", "--disable-extensions", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command = [BROWSER, "--headless", *alone, profile, "--dump-dom", path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def check_on_a_phone(text: str, folder: Path) -> str:
    """Show it as wide as a phone: nothing but tables, which scroll by themselves, may be wider."""
    watch = "<script>onerror = (what) => parent.document.title = what</script>"
    inside = html.escape(text.replace("<head>", f"<head>{watch}"))
    frame = f'<iframe style="width:{PHONE}px;height:800px" srcdoc="{inside}">'
    after = """</iframe><script>onload = () => {
      const inner = document.querySelector("iframe").contentDocument, copy = document.createElement("pre");
      document.body.dataset.width = inner.documentElement.scrollWidth;
      copy.id = "inner";
      copy.textContent = inner.body.outerHTML;
      document.body.append(copy);
    }</script>"""
    path = folder / "phone.html"
    path.write_text(f"<!doctype html><title>no error</title><body>{frame}{after}</body>")
    seen = shown(path)
    assert "<title>no error</title>" in seen
    width = re.search(r'data-width="(\d+)"', seen)
    assert width is not None
    assert int(width[1]) <= PHONE
    inner = re.search(r'<pre id="inner">(.*)</pre>', seen, re.DOTALL)
    assert inner is not None
    return html.unescape(inner[1])


def test_the_page_of_a_run(tmp_path: Path) -> None:
    body = check_on_a_phone(page.to_html(long_run()), tmp_path)
    assert body.count("<svg") == 1 + 64
    timeline = re.search(r'<div id="timeline">(.*?)</svg>', body, re.DOTALL)
    assert timeline is not None
    assert len(re.findall(r'<path d="M[^"]', timeline[1])) == page.OPERATORS + 1
    fallbacks = re.search(r'id="fallbacks">(.*?)</table>', body, re.DOTALL)
    assert fallbacks is not None
    assert fallbacks[1].count("<tr>") == 1 + 800
    assert "12 entries more." in body
    assert "train.py &lt;b&gt;" in body


def test_the_page_of_a_suite(tmp_path: Path) -> None:
    plan = Plan(tmp_path, ("test_a.py",), Profile(), "none", tmp_path)
    failed = Result("failed", "AssertionError: <b>\nlong", 0.5)
    rows = [
        Row("test_a.py", "test_a.py::test_x", "only on cuda", failed, Result("passed", "", 0.1)),
        Row("test_a.py", "test_a.py::test_y", "passes", Result("passed"), Result("passed")),
    ]
    done = {"seconds": 3.0, "peak": 2**20, "processes": 1}
    units = {Unit("test_a.py", device): Journal(done=done) for device in ("cuda", "cpu")}
    facts = {"project": "a project", "date": "today"}
    body = check_on_a_phone(suite_pages.to_html(plan, Comparison(rows, ["not so"], units), facts), tmp_path)
    assert "<b>1</b>" in body
    assert "AssertionError: &lt;b&gt;" in body
    assert "1 tests" in body
    assert "test_x" in body
    assert "<li>not so</li>" in body
    assert 'href="logs/cuda/test_a.log"' in body


def test_the_page_of_the_catalogue(tmp_path: Path) -> None:
    pytest.importorskip("pydantic")
    from torchdevice.catalogue import pages
    from torchdevice.catalogue.schema import Catalogue, Evidence, Record, Status

    evidence = Evidence(basis="ran", torch="2.13.0", date=date(2026, 11, 30), by="OpInfo", samples=4)
    status = {"cuda over cpu": Status(value="match", evidence=evidence)}
    records = {
        name: Record(name=name, kind="function", category="torch", first_seen="2.13", last_seen="2.13", status=status)
        for name in ("torch.add", "torch.mul")
    }
    body = check_on_a_phone(pages._html(Catalogue(torch="2.13", records=records)), tmp_path)
    assert "2 names" in body
    assert "torch.add" in body
    assert '<td class="match">match' in body
