"""The page on reliability says what the kept results say, and none of them tells of a failure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT = sorted((ROOT / "tests" / "reliability" / "kept").glob("*.json"))


def test_the_table_is_that_of_the_kept_results() -> None:
    done = subprocess.run([sys.executable, "tools/reliability.py", "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0, "docs/reliability.md is stale: python tools/reliability.py"


def test_no_kept_result_tells_of_a_failure() -> None:
    assert KEPT
    for path in KEPT:
        assert json.loads(path.read_text())["failures"] == [], path.name
