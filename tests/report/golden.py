"""The golden reports: kept as JSON, so that the snapshots of the formats hang on the formats alone.

``python tests/report/golden.py`` makes reports and snapshots anew; look at what ``git diff`` then shows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tb_nnhealth.history import Problem, Run
from tb_nnhealth.report.build import build
from tb_nnhealth.report.formats import FORMATS
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.rules.registry import BY_ID
from tb_nnhealth.rules.synthetic import Network

HERE = Path(__file__).parent / "golden"
PROBLEMS = [Problem("logs/bad/events.out.tfevents.1", "not read from byte 90 on (7 bytes): the record is incomplete")]
EXTENSIONS = {
    "text": "txt", "json": "json", "jsonl": "jsonl", "markdown": "md", "sarif": "sarif", "junit": "xml",
    "github": "github.txt",
    "openmetrics": "metrics",
}  # fmt: skip


def reports() -> list[dict[str, Any]]:
    """A critical run with symptoms, a healthy one, and one without data."""
    found: list[dict[str, Any]] = json.loads((HERE / "reports.json").read_text("utf-8"))
    return found


def snapshot(name: str) -> str:
    """A format's rendering of the golden reports, without what grows with every release."""
    rendered = FORMATS[name](reports(), PROBLEMS)
    if name != "sarif":
        return rendered
    log = json.loads(rendered)
    driver = log["runs"][0]["tool"]["driver"]
    driver["version"] = "VERSION"
    for rule in driver["rules"]:
        rule["help"] = {"text": "PAGE", "markdown": "PAGE"}
    return json.dumps(log, indent=1) + "\n"


def _made() -> list[dict[str, Any]]:
    examples = BY_ID["softmax-before-cross-entropy"].examples
    ill = next(e for e in examples if e.title == "probabilities to a function").build()
    runs = [ill, Network().run(), Run("empty")]
    runs[0].name, runs[1].name = "sweep/lr=1", "sweep/lr=0.1"
    return [build(run, judge(run)) for run in runs]


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    (HERE / "reports.json").write_text(json.dumps(_made(), indent=1) + "\n", "utf-8")
    for format_, extension in EXTENSIONS.items():
        (HERE / f"report.{extension}").write_text(snapshot(format_), "utf-8")
