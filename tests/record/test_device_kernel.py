"""The kernels for a GPU, where there is none: their results by Triton's interpreter, their code by its compiler."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
HERE = Path(__file__).parent
SECONDS = 500


def run(*arguments: str, **environment: str) -> None:
    path = os.pathsep.join([str(HERE.parents[1]), str(HERE), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def test_in_the_interpreter() -> None:
    arguments = "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(HERE / "interpreted_kernels.py")
    run(*arguments, TRITON_INTERPRET="1")


def test_compiled_for_a_gpu() -> None:
    run(str(HERE / "compiled_kernels.py"), TRITON_INTERPRET="0")
