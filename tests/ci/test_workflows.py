"""What the workflows may do, and whose code they run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

WORKFLOWS = sorted((Path(__file__).resolve().parents[2] / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    used = re.findall(r"uses:.*", path.read_text())
    assert used
    assert [line for line in used if not re.fullmatch(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_containers_are_pinned_by_digest(path: Path) -> None:
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    containers = [job["container"] for job in jobs if "container" in job]
    assert [name for name in containers if not re.fullmatch(r"[\w.-]+:[\w.-]+@sha256:[0-9a-f]{64}", name)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_reads_unless_a_job_says_more(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    more = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    publish = {"publish": {"contents": "read", "id-token": "write", "attestations": "write"}}
    assert more == (publish if path.stem == "release" else {})


def test_one_version_of_an_action() -> None:
    used = {line for path in WORKFLOWS for line in re.findall(r"uses: (.*)", path.read_text())}
    assert len({line.partition("@")[0] for line in used}) == len(used)
