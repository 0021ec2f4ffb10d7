from __future__ import annotations

import os
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from alerted import EVIL, finding, report
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as prometheus_families

from tb_nnhealth.follow import metrics
from tb_nnhealth.follow.metrics import MetricsServer
from tb_nnhealth.history import Problem
from tb_nnhealth.report.openmetrics import render
from tb_nnhealth.report.printable import printable

REPORTS = [
    report(finding("a"), finding("b", severity="warning"), finding("c", active=False)),
    report(run="exp2"),
    {**report(run="empty"), "verdict": "no-data", "last_wall": None},
]


def samples(text: str, families=openmetrics_families) -> dict[tuple[str, tuple[str, ...]], float]:
    return {(s.name, tuple(s.labels.values())): s.value for family in families(text) for s in family.samples}


def test_a_real_parser_reads_what_is_told() -> None:
    told = samples(render(REPORTS, [Problem("a", "b")]))
    assert told["nnhealth_run_verdict", ("exp1", "critical")] == 1
    assert told["nnhealth_run_verdict", ("exp1", "healthy")] == 0
    assert told["nnhealth_run_verdict", ("empty", "no-data")] == 1
    assert told["nnhealth_run_step", ("exp2",)] == 99
    assert told["nnhealth_run_findings", ("exp1", "critical")] == 1
    assert told["nnhealth_run_findings", ("exp2", "critical")] == 0
    assert told["nnhealth_finding", ("exp1", "non-finite", "b", "warning")] == 1
    assert ("nnhealth_finding", ("exp1", "non-finite", "c", "critical")) not in told, "over"
    assert told["nnhealth_run_last_write_timestamp_seconds", ("exp1",)] == 1.7e9
    assert ("nnhealth_run_last_write_timestamp_seconds", ("empty",)) not in told
    assert told["nnhealth_problems", ()] == 1


def test_prometheus_own_format_reads_the_same() -> None:
    text = render(REPORTS, [])
    assert samples(text, prometheus_families) == samples(text)


@pytest.mark.parametrize("name", [EVIL, 'a"b\\c\nd{}', "\\", '"', "# EOF", "שכבה", "\udcff"])
def test_names_stay_labels(name: str) -> None:
    told = samples(render([report(finding(name), run=name)], []))
    assert told["nnhealth_finding", (printable(name), "non-finite", printable(name), "critical")] == 1


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "health.prom"
    texts = [render([report(run="x" * 50_000 + str(i))], []) for i in range(2)]
    metrics.write(path, texts[0])
    stop, torn = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            if path.read_text("utf-8") not in texts:
                torn.append(1)

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(200):
        metrics.write(path, texts[i % 2])
    stop.set()
    reader.join()
    assert torn == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["health.prom"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics.write(tmp_path / "m", "old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        metrics.write(tmp_path / "m", "new")
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("m", "old")]


def test_the_server_answers_metrics_and_nothing_else() -> None:
    server = MetricsServer("127.0.0.1", 0)
    try:
        assert server.url.startswith("http://127.0.0.1:")
        server.update(render(REPORTS, []))
        with urllib.request.urlopen(server.url, timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
            assert samples(answer.read().decode())["nnhealth_run_step", ("exp1",)] == 99
        for path in ("/", "/../etc/passwd", "/metrics/x"):
            with pytest.raises(urllib.error.HTTPError) as error:
                urllib.request.urlopen(server.url.replace("/metrics", path), timeout=10)
            assert error.value.code == 404
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(server.url, data=b"x", timeout=10)
        assert error.value.code == 501
    finally:
        server.close()


def test_a_client_that_says_nothing_holds_up_no_other() -> None:
    server = MetricsServer("127.0.0.1", 0)
    try:
        host, port = server.url.removeprefix("http://").removesuffix("/metrics").split(":")
        with socket.create_connection((host, int(port))):
            assert urllib.request.urlopen(server.url, timeout=10).read() == b"# EOF\n"
    finally:
        server.close()


def test_a_taken_port_is_an_error() -> None:
    server = MetricsServer("127.0.0.1", 0)
    try:
        with pytest.raises(OSError, match="in use"):
            MetricsServer("127.0.0.1", int(server.url.rsplit(":", 1)[1].removesuffix("/metrics")))
    finally:
        server.close()
