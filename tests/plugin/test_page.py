"""The saved report: bounded, complete where it can be, and inert whatever the names in the log are."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_logs import write_log, write_scalars

from tb_nnhealth import schema
from tb_nnhealth.cli.main import main
from tb_nnhealth.derive import BY_ID
from tb_nnhealth.history import Problem, Run
from tb_nnhealth.plugin import arrays, page
from tb_nnhealth.plugin.heatmap import heatmap
from tb_nnhealth.plugin.replies import ESSENTIAL, Reply, SavedRun, rounded, saved_run
from tb_nnhealth.report.build import build
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.source.files import FileSource

HOSTILE = "</script><script>alert(1)</script> \u202egnp\u2028\udcff"


class Elements(html.parser.HTMLParser):
    """Text of the elements by name and id, as a browser parses them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: dict[str, list[str]] = {}
        self.policy = ""
        self.open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        known = dict(attributes)
        self.open = f"{tag}#{known.get('id') or ''}"
        self.found.setdefault(self.open, []).append("")
        if known.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(known["content"])

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        if self.open:
            self.found[self.open][-1] += data

    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.found["script#nnhealth-replies"][0])
        return content

    def reply(self, route: str, about: str = "") -> Any:
        packed = next(r[3] for r in self.content()["replies"] if r[0] == route and r[2] == about)
        return json.loads(zlib.decompress(base64.b64decode(packed)))


@pytest.fixture(autouse=True)
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A frontend in small, so that these tests need no build."""
    static = tmp_path / "static"
    static.mkdir()
    for name in ("report.js", "report.css", "index.css", "licences.txt"):
        (static / name).write_text(f"/* {name} */")
    monkeypatch.setattr(page, "STATIC", static)
    return static


def ill(steps: int = 120) -> Network:
    network = Network(steps=steps).loss(2 * np.exp(-np.arange(steps) / 40) + 0.3)
    network.spoil(schema.LOSS, "", 81)
    for layer in range(3, network.depth):
        network.spoil(schema.ACTIVATION, network.layer(layer), 81)
    return network


@pytest.fixture
def run(tmp_path: Path) -> Run:
    write_log(tmp_path / "logs" / "ill", ill())
    source = FileSource([tmp_path / "logs"])
    source.refresh()
    return source.run("ill")


def saved(run: Run, limit: int = page.BYTES_MOST) -> SavedRun:
    return saved_run(run, build(run, judge(run)), limit)


def test_it_holds_every_statistic_finding_layer_and_tag(run: Run) -> None:
    elements = Elements(page.page([saved(run)], logdir="logs"))
    held = {tuple(reply[:3]) for reply in elements.content()["replies"]}
    described = elements.reply("model")
    assert {("heatmap", "ill", s["id"]) for s in described["statistics"]} <= held
    assert {("layer", "ill", entry["name"]) for entry in described["layers"]} <= held
    assert {("scalars", "ill", tag) for tag in run.scalars} <= held
    assert ("evidence", "ill", "0") in held
    assert elements.reply("report")["run"] == build(run, judge(run))
    assert [row["run"] for row in elements.reply("runs")["runs"]] == ["ill"]
    assert elements.content()["left_out"] == []


def test_its_numbers_are_those_of_the_route_but_for_what_no_picture_shows(run: Run) -> None:
    held = Elements(page.page([saved(run)])).reply("heatmap", "update-ratio")
    asked = heatmap(run, BY_ID["update-ratio"], limit=500)
    assert held["steps"] == asked["steps"]
    np.testing.assert_allclose(arrays.decode(held["values_f32"]), arrays.decode(asked["values_f32"]), rtol=1 / 4000)


def test_rounding_keeps_what_is_not_finite_and_the_largest() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 1e-45, 3.4028235e38, -1.2345678], np.float32)
    np.testing.assert_allclose(rounded(values), values, rtol=1 / 4000, atol=1e-41)


def test_only_its_own_script_may_run_and_nothing_be_asked_for(run: Run) -> None:
    elements = Elements(page.page([saved(run)]))
    policy = dict(part.strip().split(" ", 1) for part in elements.policy.split(";"))
    assert policy["default-src"] == "'none'"
    for directive, element in (("script-src", "script#"), ("style-src", "style#")):
        [text] = elements.found[element]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy[directive] == f"'sha256-{digest}'"


def test_names_of_strangers_end_no_element(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    write_scalars(logs / "plain", **{f"loss/train{HOSTILE[:-1]}": [(i, 2.0 - i / 100) for i in range(100)]})
    source = FileSource([logs])
    source.refresh()
    run = source.run("plain")
    run.name = HOSTILE
    text = page.page([saved(run)], logdir=HOSTILE, title=HOSTILE, problems=[Problem(HOSTILE, HOSTILE)])
    elements = Elements(text)
    assert [name for name in elements.found if name.startswith("script")] == [
        "script#licences",
        "script#nnhealth-replies",
        "script#",
    ]
    assert elements.content()["logdir"] == HOSTILE
    assert HOSTILE.replace("\udcff", "?") in elements.found["title#"][0]
    text.encode()
    assert elements.reply("runs")["runs"][0]["run"] == HOSTILE


def reply_of(run: str, size: int, level: int = ESSENTIAL) -> Reply:
    return Reply("heatmap", run, str(level), "A" * size, level)


def made_up(name: str, critical: int, *replies: Reply) -> SavedRun:
    row = {"run": name, "counts": {"critical": critical, "warning": 0, "info": 0}, "loss": None}
    return SavedRun(row, frozenset(), replies, dict.fromkeys(range(5), 0))


def test_a_report_of_many_runs_stays_within_its_bound_and_holds_the_severest() -> None:
    runs = [made_up(f"run {i}", i % 3, reply_of(f"run {i}", 300_000)) for i in range(30)]
    text = page.page(runs)
    assert len(text.encode()) <= page.BYTES_MOST
    content = Elements(text).content()
    held = {reply[1] for reply in content["replies"][1:]}
    assert len(held) >= 5
    assert all(int(name.split()[1]) % 3 == 2 for name in held)
    assert content["runs_left_out"] == 30 - len(held)
    assert len(Elements(text).reply("runs")["runs"]) == 30


def test_what_is_less_important_gives_way_first_and_is_counted() -> None:
    run = made_up("a", 1, reply_of("a", 1_200_000), *(reply_of("a", 300_000, level) for level in (1, 2, 3, 4)))
    content = Elements(page.page([run])).content()
    assert [reply[2] for reply in content["replies"]] == ["", "0", "1", "2"]
    assert content["left_out"] == ["Left out, since they would not fit: pages of layers (1), scalars (1)."]


def test_thousands_of_runs_are_bounded_too() -> None:
    loss = {"tag": "loss", "steps": list(range(64)), "values": list(np.random.default_rng(0).random(64))}
    runs = [made_up(f"sweep/run {i} {'x' * 200}", 0) for i in range(9_000)]
    for run in runs:
        run.row["loss"] = loss
    text = page.page(runs)
    assert len(text.encode()) <= page.BYTES_MOST
    assert any("The list ends after 4,000 of 9,000 runs." in told for told in Elements(text).content()["left_out"])


def test_a_run_is_made_up_to_its_share(run: Run) -> None:
    full, part = saved(run), saved(run, 1)
    assert sum(full.left_out.values()) == 0
    assert {reply.level for reply in part.replies} == {ESSENTIAL}
    assert sum(part.left_out.values()) > 10


def test_the_command_writes_it(tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.html"
    assert main(["inspect", str(tmp_path / "logs"), "--format", "html", "--output", str(out)]) == 0
    assert Elements(out.read_text("utf-8")).reply("report")["run"]["verdict"] == "critical"
    assert capsys.readouterr().out == ""


def test_without_a_built_frontend_the_command_says_how_to_build_it(
    tmp_path: Path, run: Run, built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (built / "report.js").unlink()
    assert main(["inspect", str(tmp_path / "logs"), "--format", "html"]) == 2
    assert re.search(r"report\.js .*npm run build", capsys.readouterr().err)
