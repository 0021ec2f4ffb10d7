"""An experiment as its command runs it: in a process of its own, which forks children before any thread is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SECONDS = 500.0


def told(name: str, result: Path, *arguments: str) -> dict[str, Any]:
    """What the experiment writes into the file ``result``."""
    command = [sys.executable, "-m", f"tests.reliability.{name}", "--json", str(result), *arguments]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert result.exists(), f"{name} ended with status {done.returncode}:\n{done.stdout}\n{done.stderr}"
    found: dict[str, Any] = json.loads(result.read_text())
    assert bool(found["failures"]) == bool(done.returncode)
    return found
