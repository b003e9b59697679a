"""A scan as SARIF 2.1.0, which GitHub's code scanning and editors open."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import torchdevice
from torchdevice.scan.findings import Finding, Report
from torchdevice.scan.rules import RULES, Rule, Verdict

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
HOME = "https://pypi.org/project/torchdevice-ext/"

#: What works is no result: GitHub would show it as an alert.
_LEVELS = {Verdict.CANNOT: "error", Verdict.CPU: "note", Verdict.DIFFERS: "note"}


def to_sarif(report: Report) -> dict[str, object]:
    """The log of one run, as data for json.dumps()."""
    rules = [rule for rule in RULES.values() if rule.verdict in _LEVELS]
    index = {rule.id: number for number, rule in enumerate(rules)}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "torchdevice scan",
                        "version": torchdevice.__version__,
                        "informationUri": HOME,
                        "rules": [_rule(rule) for rule in rules],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(one, index[one.rule.id]) for one in report.findings if one.rule.id in index],
                "invocations": [
                    {
                        "executionSuccessful": True,
                        "toolExecutionNotifications": [
                            {
                                "level": "warning",
                                "message": {"text": f"not read: {one.reason}"},
                                "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(one.path)}}}],
                            }
                            for one in report.unread
                        ],
                    }
                ],
            }
        ],
    }


def _rule(rule: Rule) -> dict[str, object]:
    return {
        "id": rule.id,
        "shortDescription": _message(f"{rule.title}: {rule.verdict.value}"),
        "help": {"text": rule.advice.replace("`", ""), "markdown": rule.advice},
        "defaultConfiguration": {"level": _LEVELS[rule.verdict]},
    }


def _result(finding: Finding, index: int) -> dict[str, object]:
    guard = "" if finding.guard is None else f" It is guarded: {finding.guard}."
    text = f"{finding.verdict.value}: {finding.what}: {finding.rule.title}.{guard} {finding.rule.advice}"
    return {
        "ruleId": finding.rule.id,
        "ruleIndex": index,
        "level": _LEVELS[finding.verdict],
        "message": _message(text),
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(finding.path)},
                    "region": {"startLine": finding.line, "startColumn": finding.column},
                }
            }
        ],
    }


def _message(markdown: str) -> dict[str, str]:
    return {"text": markdown.replace("`", "")}


def _uri(path: str) -> str:
    """Relative to where the scan was started, or absolute."""
    return Path(path).as_uri() if Path(path).is_absolute() else quote(Path(path).as_posix())
