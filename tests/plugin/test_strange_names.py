"""Runs whose names are markup, control characters or no text at all, through TensorBoard and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_logs import write_log
from test_app import ROOT, serve

from tb_nnhealth.rules.synthetic import Network

NAMES = ["new\nline", "<script>alert(1)<_script>", "a'b\"c", "%2e%2e", "]]>", "\u202egnal"]
"""TensorBoard itself takes none that is no UTF-8."""


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_any_name_is_listed_and_opened(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "logs" / name
    write_log(directory, Network(steps=20))
    write_log(tmp_path / "logs" / "sound", Network(steps=20))
    client = serve(tmp_path / "logs")
    while (told := client.get(f"{ROOT}runs").json)["pending"]:
        pass
    listed = [row["run"] for row in told["runs"]]
    assert "sound" in listed
    for run in listed:
        for route in ("report", "model", "scalars", "heatmap", "report_html"):
            query = {"run": run, "statistic": "update-ratio"}
            reply = client.get(ROOT + route, query_string=query)
            assert reply.status_code == 200 or (run != "sound" and reply.status_code == 404), reply.get_data()
            assert "html" not in reply.content_type or b"<script>alert" not in reply.get_data()
            assert "\n" not in reply.headers.get("Content-Disposition", "")
