"""Another project's tests, made here: what they do on two devices, and what counts against cuda."""

from __future__ import annotations

import json
import os
import textwrap
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from torchdevice.testing.suite import plan as plans
from torchdevice.testing.suite.journal import Journal, Result, read
from torchdevice.testing.suite.pages import to_html, to_json, to_markdown
from torchdevice.testing.suite.plan import Limits, Plan, SuiteError, Unit
from torchdevice.testing.suite.profile import Profile
from torchdevice.testing.suite.runner import Runner, State
from torchdevice.testing.suite.verdicts import Comparison, compare

# Stands in for the device; no test of it needs torch.
TESTS = """
    import os
    import unittest

    import pytest
    from base import Inherited

    CUDA = os.environ["DEVICE"] == "cuda"


    def test_passes():
        pass

    def test_fails_on_both():
        assert False, "everywhere"

    @pytest.mark.parametrize("text", ["[a::b]", "ü", "two\\nlines"])
    def test_fails_on_cuda(text):
        assert not CUDA, "only here"

    @pytest.mark.skipif(CUDA, reason="not today")
    def test_is_skipped():
        pass

    @pytest.mark.skip(reason="never")
    def test_is_skipped_on_both():
        pass

    @pytest.mark.xfail(reason="known")
    def test_is_expected_to_fail():
        assert False

    def test_fails_on_the_cpu():
        assert CUDA

    @pytest.fixture
    def broken():
        yield
        assert not CUDA, "while tidying up"

    def test_fails_at_its_end(broken):
        pass

    if CUDA:
        def test_of_cuda_alone():
            assert False, "no twin"
    else:
        def test_of_the_cpu_alone():
            pass

    class TestHere(Inherited):
        pass
"""
BASE = """
    class Inherited:
        def test_inherited(self):
            import test_things
            assert not test_things.CUDA, "inherited"
"""

# Three ways to end a process, each between two tests.
DEADLY = """
    import os, signal, time

    CUDA = os.environ["DEVICE"] == "cuda"

    def test_before(): pass

    def test_exits():
        if CUDA: os._exit(9)

    def test_crashes():
        if CUDA: os.kill(os.getpid(), signal.SIGSEGV)

    def test_between(): pass

    def test_hangs():
        if CUDA: time.sleep(600)

    def test_eats():
        if CUDA:
            food = []
            while True: food.append(b"x" * 2**24); time.sleep(0.05)

    def test_after(): pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    write(folder, "test_things.py", TESTS)
    write(folder, "base.py", BASE)
    return folder


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(textwrap.dedent(text))


def planned(project: Path, files: Sequence[str] = ("test_things.py",), choice: Sequence[str] = (), **rest: Any) -> Plan:
    limits = Limits(**rest.pop("limits", {}))
    profile = Profile(environment={"DEVICE": "{device}"}, **rest)
    plan = plans.make(project, files, "made here", profile, project.parent / "out", limits=limits, choice=tuple(choice))
    plan.begin(fresh=False)
    return plan


def nothing(unit: Unit, journal: Journal, state: State) -> None:
    pass


def outcome(plan: Plan) -> Comparison:
    Runner(plan, nothing).run()
    return compare(plan)


def verdicts(found: Comparison) -> dict[str, str]:
    return {row.name: row.verdict for row in found.rows}


def test_what_counts_against_cuda(project: Path) -> None:
    found = outcome(planned(project))
    assert verdicts(found) == {
        "test_passes": "passes",
        "test_fails_on_both": "fails on both",
        "test_fails_on_cuda[[a::b]]": "only on cuda",
        "test_fails_on_cuda[\\xfc]": "only on cuda",
        "test_fails_on_cuda[two\\nlines]": "only on cuda",
        "test_is_skipped": "differs",
        "test_is_skipped_on_both": "skipped",
        "test_is_expected_to_fail": "skipped",
        "test_fails_on_the_cpu": "only on cpu",
        "test_fails_at_its_end": "only on cuda",
        "test_of_cuda_alone": "only on cuda",
        "test_of_the_cpu_alone": "differs",
        "TestHere::test_inherited": "only on cuda",
    }
    assert not found.is_clean
    rows = {row.name: row for row in found.rows}
    inherited = rows["TestHere::test_inherited"]
    assert inherited.group == "TestHere"
    assert inherited.cuda is not None
    assert inherited.cuda.headline() == "AssertionError: inherited"
    assert inherited.cpu is not None
    assert inherited.cpu.status == "passed"
    for name, expected in {"test_is_skipped": "not today", "test_is_expected_to_fail": "known"}.items():
        cuda = rows[name].cuda
        assert cuda is not None
        assert (cuda.status, cuda.message) == ("skipped", expected)


def test_failures_are_grouped_by_cause(project: Path) -> None:
    (cause, rows), *others = outcome(planned(project)).causes("only on cuda")
    assert cause == "AssertionError: only here"
    assert len(rows) == 3
    assert [len(rows) for _, rows in others] == [1, 1, 1]


def test_a_choice_is_made_on_both(project: Path) -> None:
    found = outcome(planned(project, choice=["-k", "test_fails_on_both"]))
    assert verdicts(found) == {"test_fails_on_both": "fails on both"}


def test_only_failures_run_on_the_cpu_where_the_profile_says_so(project: Path) -> None:
    plan = planned(project, reference="failures", choice=["-k", "passes or fails_on_both or fails_on_cuda"])
    found = outcome(plan)
    assert set(verdicts(found).values()) == {"passes", "fails on both", "only on cuda"}
    assert set(read(plan.journal(Unit("test_things.py", "cpu"))).results) == {
        row.test for row in found.rows if row.verdict != "passes"
    }


def test_twins_have_other_names(project: Path) -> None:
    twins = [["of_cuda_alone", "fails_on_both"]]
    found = outcome(planned(project, reference="failures", twins=twins, choice=["-k", "test_of_cuda_alone"]))
    assert verdicts(found) == {"test_of_cuda_alone": "fails on both"}


def test_files_that_cannot_be_imported(project: Path) -> None:
    write(project, "test_unimportable.py", "import nothing_of_that_name")
    write(project, "test_cuda_cannot.py", "import os\nassert os.environ['DEVICE'] != 'cuda'\ndef test_x(): pass")
    found = outcome(planned(project, ["test_unimportable.py", "test_cuda_cannot.py"]))
    assert verdicts(found) == {
        "test_unimportable.py": "fails on both",
        "test_cuda_cannot.py": "only on cuda",
        "test_x": "differs",
    }


def test_a_crash_a_hang_and_a_glutton_cost_one_test_each(project: Path) -> None:
    write(project, "test_deadly.py", DEADLY)
    plan = planned(project, ["test_deadly.py"], limits={"test": 10, "memory": 300 * 2**20})
    found = outcome(plan)
    results = {row.name: row.cuda for row in found.rows}
    assert {name: result.status for name, result in results.items() if result is not None} == {
        "test_before": "passed",
        "test_exits": "crashed",
        "test_crashes": "crashed",
        "test_between": "passed",
        "test_hangs": "timed out",
        "test_eats": "out of memory",
        "test_after": "passed",
    }
    headlines = {name: result.headline() for name, result in results.items() if result is not None}
    assert headlines["test_exits"] == "the process ended with status 9"
    assert headlines["test_crashes"] == "the process ended with SIGSEGV"
    assert headlines["test_hangs"] == "took longer than the 10 seconds of a test"
    assert headlines["test_eats"] == "took more than the 0.3 GiB of a process"
    assert {row.cpu.status for row in found.rows if row.cpu is not None} == {"passed"}
    done = found.units[Unit("test_deadly.py", "cuda")].done
    assert done is not None
    assert done["processes"] == 5
    assert done["peak"] > 300 * 2**20


@pytest.mark.parametrize(
    ("text", "status", "headline"),
    [
        ("import os\nos._exit(7)", "failed", "the process ended with status 7"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGABRT)", "crashed", "the process ended with SIGABRT"),
        ("import time\ntime.sleep(600)", "timed out", "timed out"),
        (
            "import atexit, os\natexit.register(os._exit, 3)\ndef test_x(): pass",
            "crashed",
            "after its tests: the process ended with status 3",
        ),
    ],
    ids=["exits", "aborts", "hangs", "dies at its end"],
)
def test_a_file_that_ends_its_process_outside_of_a_test(project: Path, text: str, status: str, headline: str) -> None:
    write(project, "test_file.py", text)
    plan = planned(project, ["test_file.py"], reference="failures", limits={"test": 8})
    Runner(plan, nothing).run()
    result = read(plan.journal(Unit("test_file.py", "cuda"))).results["test_file.py"]
    assert (result.status, result.headline()) == (status, headline)


def test_what_a_test_leaves_running_is_ended(project: Path) -> None:
    child = "import os, subprocess, sys\ndef test_x():\n" + (
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "    open(f'{os.environ[\"DEVICE\"]}.pid', 'w').write(str(child.pid))\n"
    )
    write(project, "test_child.py", child)
    outcome(planned(project, ["test_child.py"]))
    number = int((project / "cuda.pid").read_text())
    stat = Path(f"/proc/{number}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_tests_for_which_no_time_is_left_are_not_run(project: Path) -> None:
    write(project, "test_slow.py", "import time\ndef test_a(): time.sleep(600)\ndef test_b(): pass\ndef test_c(): pass")
    plan = planned(project, ["test_slow.py"], reference="failures", limits={"file": 5})
    found = outcome(plan)
    assert {row.name: row.verdict for row in found.rows} == dict.fromkeys(("test_a", "test_b", "test_c"), "not run")
    assert {row.cuda.message for row in found.rows if row.cuda is not None} == {"the 5 seconds of its file were over"}


COUNTED = """
    import os, pathlib, pytest, time

    @pytest.mark.parametrize("number", range(4))
    def test_x(number):
        with open(f"{os.environ['DEVICE']}.txt", "a") as file:
            file.write(f"{number}")
        if number == 2 and not pathlib.Path("go").exists():
            time.sleep(600)
"""


def test_a_run_that_was_ended_goes_on_where_it_was(project: Path) -> None:
    write(project, "test_counted.py", COUNTED)
    plan = planned(project, ["test_counted.py"])
    runner = Runner(plan, nothing)
    thread = threading.Thread(target=runner.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while runner.state.tests["cuda", "passed"] + runner.state.tests["cpu", "passed"] < 4:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    runner._stopped.set()  # as an interrupt does
    thread.join(30)
    assert not thread.is_alive()
    assert "test_x[2]" not in verdicts(compare(plan))

    (project / "go").touch()
    with plan.journal(Unit("test_counted.py", "cuda")).open("a") as file:
        file.write('{"event": "en')  # as if it had been ended while it wrote
    found = outcome(plan)
    assert set(verdicts(found).values()) == {"passes"}
    assert len(found.rows) == 4
    assert (project / "cuda.txt").read_text() == "01223"
    assert (project / "cpu.txt").read_text() == "01223"
    outcome(plan)  # all is done
    assert (project / "cuda.txt").read_text() == "01223"


def test_another_run_does_not_go_on_in_the_same_folder(project: Path) -> None:
    plan = planned(project)
    with pytest.raises(SuiteError, match="out holds a run with another choice: name another folder with --out, or beg"):
        planned(project, choice=["-k", "other"])
    (plan.out / "journal" / "kept").touch()
    plan.begin(fresh=True)
    assert (plan.out.with_name("out.1") / "journal" / "kept").exists()


def test_the_ledger_must_be_true(project: Path) -> None:
    entries = """
        [[entry]]
        names = ["test_things.py::test_fails_on_cuda*", "test_things.py::test_gone"]
        reason = "cannot be"
        [[entry]]
        names = ["test_things.py::test_passes"]
        reason = "not so"
        [[entry]]
        names = ["test_others.py::*"]
        reason = "another file"
    """
    write(project, "ledger.toml", entries)
    found = outcome(planned(project, ledger=str(project / "ledger.toml")))
    assert [row.reason for row in found.of("listed")] == ["cannot be"] * 3
    assert found.untrue == [
        "test_things.py::test_passes: passes, but the ledger says: not so",
        "test_things.py::test_gone: names nothing, but the ledger says: cannot be",
    ]


def test_reports(project: Path) -> None:
    plan = planned(project)
    found = outcome(plan)
    facts = {"project": "things <1>", "date": "today"}
    data = json.loads(json.dumps(to_json(plan, found, facts)))
    assert data["counts"]["only on cuda"] == 6
    assert data["statuses"]["cpu"]["failed"] == 2
    inherited = next(one for one in data["tests"] if one["test"] == "test_things.py::TestHere::test_inherited")
    assert inherited["class"] == "TestHere"
    assert inherited["cuda"]["status"] == "failed"
    assert inherited["cuda"]["error"].startswith("AssertionError: inherited")
    assert [(one["file"], one["device"], one["is_done"]) for one in data["files"]] == [
        ("test_things.py", "cuda", True), ("test_things.py", "cpu", True)
    ]  # fmt: skip
    text = to_markdown(plan, found, facts)
    assert "- AssertionError: only here\n    - `test_things.py::test_fails_on_cuda[[a::b]]`" in text
    assert "| only on cuda | 6 | fails on cuda, and not on the CPU |" in text
    page = to_html(plan, found, facts)
    assert "<title>things &lt;1&gt; on torchdevice</title>" in page
    assert page.count("</script>") == 2
    assert os.path.relpath(project / "test_things.py", plan.out) in page
    assert "logs/cuda/test_things.log" in page
    assert (plan.out / "logs/cuda/test_things.log").exists()
    assert "http" not in page


def test_results_read_as_they_are_written() -> None:
    assert Result("failed", "\n two\nlines").headline() == "two"
    assert Result("crashed").fails
    assert not Result("not run").fails
