"""Writes what ``make bench-panel`` measured into docs/performance.md: ``python tools/panel.py [FILE]``.

A figure that misses its goal stands as it is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from pieces import write_piece  # noqa: E402

from benchmarks.panel_table import table  # noqa: E402


def main() -> None:
    measured = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "benchmarks" / "results" / "panel.json"
    told = json.loads(measured.read_text("utf-8"))
    if told["quick"]:
        raise SystemExit(f"{measured}: expected a whole measurement, found one by --quick, which shows nothing")
    write_piece(ROOT / "docs" / "performance.md", "panel", table(told))


if __name__ == "__main__":
    main()
