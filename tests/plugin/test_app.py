"""The plugin inside TensorBoard's own WSGI application, over event files read by TensorBoard."""

from __future__ import annotations

import argparse
import gzip
import importlib.metadata
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_logs import scalar, write_log, write_scalars
from tensorboard.backend import application
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from werkzeug.test import Client

from tb_nnhealth import schema
from tb_nnhealth.cli.main import main
from tb_nnhealth.events.framing import frame
from tb_nnhealth.plugin import experiment as experiments
from tb_nnhealth.plugin import page, unhurried, wsgi
from tb_nnhealth.plugin import plugin as plugins
from tb_nnhealth.plugin.loader import Loader
from tb_nnhealth.plugin.plugin import HealthPlugin
from tb_nnhealth.rules.synthetic import Network

ROOT = "/data/plugin/nnhealth/"
KEEP_ALL = {schema.PLUGIN_NAME: 0}


def serve(logdir: Path, multiplexer: Any = None) -> Client:
    multiplexer = multiplexer or plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance=KEEP_ALL)
    multiplexer.AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(logdir))
    context = base_plugin.TBContext(data_provider=provider, logdir=str(logdir), flags=argparse.Namespace())
    plugin = Loader().load(context)
    return Client(application.TensorBoardWSGI([plugin], data_provider=provider))


@pytest.fixture(scope="module")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    logdir = tmp_path_factory.mktemp("logs")
    network = Network(steps=120).loss(2 * np.exp(-np.arange(120) / 40) + 0.3)
    network.spoil(schema.LOSS, "", 81)
    for layer in range(3, network.depth):
        network.spoil(schema.ACTIVATION, network.layer(layer), 81)
    write_log(logdir / "ill", network)
    write_log(logdir / "odd <b>run</b> ü", Network(steps=20))
    write_scalars(logdir / "plain", **{"loss/train": [(i, 2.0 - i / 100) for i in range(100)]})
    return logdir


@pytest.fixture(scope="module")
def client(logdir: Path) -> Client:
    return serve(logdir)


def get(client: Client, route: str, **query: Any) -> Any:
    response = client.get(ROOT + route, query_string=query)
    assert response.status_code == 200, response.get_data(as_text=True)
    assert response.content_type == "application/json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    return json.loads(response.get_data(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def refusal(client: Client, route: str, status: int, query: Any = None) -> str:
    response = client.get(ROOT + route, query_string=query)
    text = response.get_data(as_text=True)
    assert response.status_code == status, text
    assert response.content_type.startswith("text/plain")
    assert "Traceback" not in text
    return text


def judged(client: Client) -> Any:
    """The list of runs when all of them have been judged: each request answers at once."""
    deadline = time.monotonic() + 300
    while (found := get(client, "runs"))["judging"] or found["pending"]:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def test_the_runs_are_listed_before_any_is_judged(logdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unhurried.Background, "_begin", lambda background: None)
    found = get(serve(logdir), "runs")
    assert [row["verdict"] for row in found["runs"]] == ["pending"] * 3
    assert [row["steps"] for row in found["runs"]] == [119, 19, 99]
    assert [row["has_records"] for row in found["runs"]] == [True, True, False]
    assert all(row["last_wall"] for row in found["runs"])
    assert (found["pending"], found["judging"]) == (3, 3)


def test_runs_are_judged_before_tensorboard_has_read_them(logdir: Path) -> None:
    multiplexer = plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance=KEEP_ALL)
    multiplexer.Reload, reload = list, multiplexer.Reload
    client = serve(logdir, multiplexer)
    expected = ["critical", "healthy", "healthy"]
    assert [row["verdict"] for row in judged(client)["runs"]] == expected
    reload()
    time.sleep(1.1)
    assert [row["verdict"] for row in judged(client)["runs"]] == expected


def test_runs_are_judged_when_tensorboard_has_been_started(logdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[unhurried.Background] = []
    monkeypatch.setattr(unhurried.Background, "_begin", lambda background: begun.append(background))
    serve(logdir)
    assert len(begun) == 1


def test_the_runs_stand_in_tensorboards_order(client: Client) -> None:
    found = judged(client)
    assert [row["run"] for row in found["runs"]] == ["ill", "odd <b>run</b> ü", "plain"]
    assert [row["has_records"] for row in found["runs"]] == [True, True, False]
    assert [row["steps"] for row in found["runs"]] == [119, 19, 99]
    assert all(row["error"] is None for row in found["runs"])
    assert found["pending"] == 0
    assert len(found["runs"][0]["loss"]["steps"]) <= 64
    assert "/" not in found["logdir"]


def test_the_list_brings_along_what_the_page_begins_with(client: Client) -> None:
    listed = judged(client)
    assert "first" not in listed
    for asked, name in (("", "ill"), ("plain", "plain"), ("ill", "ill")):
        first = get(client, "runs", first=asked)["first"]
        assert first["run"] == name
        assert first["report"] == get(client, "report", run=name)
        assert first["model"] == (None if name == "plain" else get(client, "model", run=name))
    assert get(client, "runs", first="no such run")["first"] is None
    rows = {row["run"]: row["statistic"] for row in listed["runs"]}
    findings = get(client, "report", run="ill")["run"]["findings"]
    assert rows == {"ill": findings[0]["statistic_id"], "odd <b>run</b> ü": None, "plain": None}


@pytest.mark.parametrize("run", ["ill", "plain"])
def test_several_routes_answer_together_what_each_says_alone(client: Client, run: str) -> None:
    asked = {"run": run, "statistic": "update-ratio", "columns": "50", "points": "40", "from": "10", "to": "90"}
    parts = ["report", "model", "heatmap", "scalars"]
    said = get(client, "together", of=parts, **asked)
    assert said == {part: get(client, part, **asked) for part in parts}
    assert list(get(client, "together", of=["scalars", "scalars"], **asked)) == ["scalars"]
    query = {"of": parts, **asked, "as": "binary"}
    response = client.get(ROOT + "together", query_string=query)
    head = json.loads(response.get_data()[4 : 4 + int.from_bytes(response.get_data()[:4], "little")])
    assert "values_bf16" in head["heatmap"], "colours are rounded"
    assert all("values_f32" in series for chart in head["scalars"]["charts"] for series in chart["series"])
    again = client.get(ROOT + "together", query_string=query, headers={"If-None-Match": response.headers["ETag"]})
    assert again.status_code == 304


def test_the_report_is_that_of_the_command_line(
    client: Client, logdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(logdir), "--format", "json"]) == 0
    inspected = json.loads(capsys.readouterr().out)["runs"]
    assert [get(client, "report", run=run["run"])["run"] for run in inspected] == inspected
    ill = next(run for run in inspected if run["run"] == "ill")
    assert ill["layers"] == 6
    assert ill["findings"][0]["rule"] == "non-finite"
    assert ill["findings"][0]["layer"] == "layers.3"


def test_each_finding_has_evidence_or_says_that_it_has_none(client: Client) -> None:
    for i, _ in enumerate(get(client, "report", run="ill")["run"]["findings"]):
        assert client.get(ROOT + "evidence", query_string={"run": "ill", "finding": i}).status_code in (200, 404)


def test_every_statistic_of_the_model_has_a_heatmap(client: Client) -> None:
    statistics = get(client, "model", run="ill")["statistics"]
    assert len(statistics) > 4
    for statistic in statistics:
        found = get(client, "heatmap", run="ill", statistic=statistic["id"], columns=10)
        assert len(found["steps"]) == 10
        assert found["healthy"] == statistic["healthy"]


def test_all_records_are_kept_where_the_loader_asked_for_it(client: Client) -> None:
    assert get(client, "heatmap", run="ill", statistic="update-ratio")["records"] == 120


def test_layer_and_scalars(client: Client) -> None:
    found = get(client, "layer", run="ill", layer="layers.3")
    assert found["panels"][0]["distribution"] is not None
    assert [c["id"] for c in get(client, "scalars", run="plain")["charts"]] == ["loss"]
    assert get(client, "scalars", run="plain", tag="loss/train")["charts"][0]["series"][0]["steps"][-1] == 99


def test_a_run_is_saved_as_one_file(client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(page, "STATIC", tmp_path)
    assert "npm run build" in refusal(client, "report_html", 404, {"run": "ill"})
    for name in ("report.js", "report.css", "index.css", "licences.txt"):
        (tmp_path / name).write_text("")
    response = client.get(ROOT + "report_html", query_string={"run": "odd <b>run</b> ü"})
    assert response.status_code == 200
    assert response.content_type.startswith("text/html")
    assert response.headers["Content-Disposition"] == 'attachment; filename="nnhealth-odd_b_run_b.html"'
    assert b"nnhealth-replies" in response.get_data()
    assert "no run 'x'" in refusal(client, "report_html", 404, {"run": "x"})


def test_a_run_without_records_has_no_model_and_no_fault(client: Client) -> None:
    assert get(client, "model", run="plain")["layers"] == []
    assert get(client, "heatmap", run="plain", statistic="update-ratio")["layers"] == []


@pytest.mark.parametrize(
    ("route", "query", "status", "told"),
    [
        ("report", "", 400, "expected a parameter 'run'"),
        ("report", {"run": "../ill"}, 404, "no run '../ill'"),
        ("heatmap", {"run": "ill"}, 400, "'statistic'"),
        ("heatmap", {"run": "ill", "statistic": "speed"}, 400, "update-ratio"),
        ("heatmap", {"run": "ill", "statistic": "update-ratio", "columns": "many"}, 400, "found 'many'"),
        ("heatmap", {"run": "ill", "statistic": "update-ratio", "from": "9", "to": "3"}, 400, "from=9, to=3"),
        ("evidence", {"run": "ill"}, 400, "'finding'"),
        ("evidence", {"run": "ill", "finding": "99"}, 404, "none numbered 99"),
        ("evidence", {"run": "ill", "finding": "-1"}, 404, "none numbered -1"),
        ("scalars", {"run": "ill", "tag": "no/such"}, 404, "no scalar 'no/such'"),
        ("scalars", {"run": "ill", "tag": [str(i) for i in range(51)]}, 400, "at most 50 tags"),
        ("layer", {"run": "ill", "layer": "layers.99"}, 404, "no layer 'layers.99'"),
        ("layer", {"run": "ill"}, 400, "'layer'"),
        ("report", {"run": "x" * 9000}, 400, "8192 bytes"),
        ("together", {"run": "ill"}, 400, "found none"),
        ("together", {"run": "ill", "of": ["report", "evidence"]}, 400, "'evidence'"),
        ("together", {"of": "report"}, 400, "'run'"),
        ("together", {"run": "ill", "of": ["report", "heatmap"]}, 400, "'statistic'"),
    ],
)
def test_bad_requests_are_told_in_one_sentence(client: Client, route: str, query: Any, status: int, told: str) -> None:
    assert told in refusal(client, route, status, query)


def test_numbers_out_of_bounds_are_moved_into_them(client: Client) -> None:
    query = {"run": "ill", "statistic": "update-ratio"}
    assert len(get(client, "heatmap", **query, columns=10**9)["steps"]) == 120
    assert len(get(client, "heatmap", **query, columns=-5)["steps"]) == 1


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_only_get_is_answered(client: Client, method: str) -> None:
    assert getattr(client, method)(ROOT + "runs").status_code == 405


def test_a_fault_of_ours_is_a_sentence_and_no_traceback(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(run: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(plugins, "ranks", fail)
    text = refusal(client, "ranks", 500, {"run": "ill"})
    assert "secret" not in text


def test_the_frontend_is_served_with_its_own_types(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(wsgi, "STATIC", tmp_path)
    assert "npm run build" in refusal(client, "index.js", 404)
    (tmp_path / "index.js").write_text("export function render() {}")
    (tmp_path / "index.css").write_text("body {}")
    (tmp_path / "secret.txt").write_text("secret")
    sent = client.get(ROOT + "index.js")
    assert sent.content_type.startswith("application/javascript")
    assert client.get(ROOT + "index.js", headers={"If-None-Match": sent.headers["ETag"]}).status_code == 304
    (tmp_path / "index.js").write_text("export function render() { built(again) }")
    assert client.get(ROOT + "index.js", headers={"If-None-Match": sent.headers["ETag"]}).status_code == 200
    assert client.get(ROOT + "index.css").content_type.startswith("text/css")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "Layer-AB12CD34.js").write_text("export {}")
    (tmp_path / "parts" / "secret.js").write_text("secret")
    assert client.get(ROOT + "parts/Layer-AB12CD34.js").content_type.startswith("application/javascript")
    strangers = ("parts/secret.js", "parts/Layer-GONE.js", "parts/..%2findex.js", "parts/../secret.txt", "parts/")
    for path in (*strangers, "secret.txt", "../plugin.py", "%2e%2e/plugin.py", "index.js/../secret.txt"):
        assert client.get(ROOT + path).status_code == 404


def test_the_tab_is_there_for_records_and_for_plain_scalars(
    client: Client, tmp_path: Path, log: Callable[..., Path]
) -> None:
    def enabled(client: Client) -> bool:
        listing = json.loads(client.get("/data/plugins_listing").get_data())
        entry = listing[schema.PLUGIN_NAME]
        assert entry["tab_name"] == "NN Health"
        assert entry["loading_mechanism"]["module_path"] == f"{ROOT}index.js"
        return bool(entry["enabled"])

    assert enabled(client)
    write_scalars(tmp_path / "scalars" / "a", loss=[(0, 1.0)])
    assert enabled(serve(tmp_path / "scalars"))
    assert enabled(serve(log(watched=Network(steps=3))))
    (tmp_path / "empty").mkdir()
    assert not enabled(serve(tmp_path / "empty"))


def test_tensorboard_finds_the_loader() -> None:
    entries = importlib.metadata.entry_points(group="tensorboard_plugins", name=schema.PLUGIN_NAME)
    assert [entry.load() for entry in entries] == [Loader]


def test_all_records_are_asked_for_unless_the_user_says_otherwise() -> None:
    flags = argparse.Namespace(samples_per_plugin={"images": 3})
    Loader().fix_flags(flags)
    assert flags.samples_per_plugin == {"images": 3, schema.PLUGIN_NAME: 0}
    flags.samples_per_plugin[schema.PLUGIN_NAME] = 7
    Loader().fix_flags(flags)
    assert flags.samples_per_plugin[schema.PLUGIN_NAME] == 7


@pytest.mark.parametrize("given", [None, "text", 3])
def test_the_flag_hook_never_raises(given: Any) -> None:
    Loader().fix_flags(argparse.Namespace(samples_per_plugin=given))
    Loader().fix_flags(argparse.Namespace())


def test_a_plugin_without_a_provider_still_describes_itself() -> None:
    plugin = HealthPlugin(base_plugin.TBContext())
    assert plugin.frontend_metadata().tab_name == "NN Health"
    assert plugin.is_active() is False


def test_a_threshold_is_tried_and_nonsense_is_refused(client: Client) -> None:
    known = get(client, "rejudge", run="ill", rule="dead-units")
    assert known["tried"] is None
    assert known["options"][0]["name"] == "share"
    found = get(client, "rejudge", run="ill", rule="dead-units", option="share", value="0.9")["tried"]
    assert found["value"] == 0.9
    assert found["toml"] == "[rules.dead-units]\nshare = 0.9"
    for query, status in (
        ({"run": "ill"}, 400),
        ({"run": "ill", "rule": "none-such"}, 404),
        ({"run": "ill", "rule": "dead-units", "option": "share"}, 400),
        ({"run": "ill", "rule": "dead-units", "option": "share", "value": "nan"}, 400),
        ({"run": "ill", "rule": "dead-units", "option": "severity", "value": "1"}, 400),
        ({"run": "gone", "rule": "dead-units", "option": "share", "value": "1"}, 404),
    ):
        refusal(client, "rejudge", status, query)


@pytest.mark.parametrize(
    ("route", "query"),
    [
        ("heatmap", {"statistic": "update-ratio", "columns": "50"}),
        ("scalars", {}),
        ("layer", {"layer": "layers.2"}),
        ("report", {}),
    ],
)
def test_bytes_say_the_same_as_json(client: Client, route: str, query: dict[str, str]) -> None:
    said = get(client, route, run="ill", **query)
    response = client.get(ROOT + route, query_string={"run": "ill", **query, "as": "binary"})
    assert response.content_type == "application/octet-stream"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    head = json.loads(response.get_data()[4 : 4 + int.from_bytes(response.get_data()[:4], "little")])
    assert set(head) == {name.replace("_f32", "_bf16") if route == "heatmap" else name for name in said}
    packed = client.get(
        ROOT + route, query_string={"run": "ill", **query, "as": "binary"}, headers={"Accept-Encoding": "gzip"}
    )
    assert gzip.decompress(packed.get_data()) == response.get_data()
    assert len(packed.get_data()) < len(json.dumps(said))


def test_an_answer_is_sent_again_only_when_the_log_has_grown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments, "REFRESH_SECONDS", 0.0)
    write_log(tmp_path / "logs" / "a", Network(steps=30))
    multiplexer = plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance=KEEP_ALL)
    client = serve(tmp_path / "logs", multiplexer)
    asked = {"runs": {}, "report": {"run": "a"}, "heatmap": {"run": "a", "statistic": "update-ratio", "as": "binary"}}
    judged(client)
    for route, query in asked.items():
        tag = client.get(ROOT + route, query_string=query).headers["ETag"]
        again = client.get(ROOT + route, query_string=query, headers={"If-None-Match": tag})
        assert (again.status_code, again.get_data(), again.headers["ETag"]) == (304, b"", tag), route
        assert again.headers["X-Content-Type-Options"] == "nosniff", "TensorBoard asks it of every answer"
        other = client.get(ROOT + route, query_string=query, headers={"If-None-Match": '"another-life"'})
        assert other.status_code == 200
    tags = {r: client.get(ROOT + r, query_string=q).headers["ETag"] for r, q in asked.items()}
    with next((tmp_path / "logs" / "a").iterdir()).open("ab") as file:
        for step in range(40):
            file.write(frame(scalar("loss/train", step, 1.0)))
    multiplexer.Reload()
    judged(client)
    for route, query in asked.items():
        found = client.get(ROOT + route, query_string=query, headers={"If-None-Match": tags[route]})
        assert found.status_code == 200, route
