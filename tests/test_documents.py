"""Documents that can go stale do not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_generated_documents_are_fresh():
    done = subprocess.run(
        [sys.executable, "tools/documents.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"run `make docs`\n{done.stdout}{done.stderr}"
