"""The package builds, and works from its wheel in a clean environment without PyTorch."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import time
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("packaging")]


def run(*command: str | Path, **options) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the source distribution, and the wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", out, ROOT)
    return out


@pytest.fixture(scope="module")
def clean(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment that holds the wheel and what it requires, no more."""
    home = tmp_path_factory.mktemp("clean")
    venv.create(home, with_pip=True)
    commands = home / ("Scripts" if os.name == "nt" else "bin")
    run(commands / "python", "-m", "pip", "install", "--quiet", next(distributions.glob("*.whl")))
    return commands


def test_distributions_hold_what_they_need_and_no_more(distributions: Path):
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(next(distributions.glob("*.whl"))) as archive:
        wheel = set(archive.namelist())
    needed = {
        "tb_nnhealth/plugin/static/index.js",
        "tb_nnhealth/plugin/static/index.css",
        "tb_nnhealth/health.proto",
        "tb_nnhealth/py.typed",
    }
    assert needed <= source
    assert needed | {"tb_nnhealth/demo/__init__.py"} <= wheel
    assert not [name for name in wheel if name.startswith(("tests", "frontend")) or "__pycache__" in name]


def test_reader_works_without_torch(clean: Path, tmp_path: Path):
    script = """
import sys
from tb_nnhealth import Recorder
with Recorder(sys.argv[1]) as recorder:
    for step in range(30):
        recorder.record(step, {"layer.weight": {"rms": 0.1, "mean": 0.0}, "layer.weight:update": {"rms": 1e-4}})
assert "torch" not in sys.modules
try:
    from tb_nnhealth import SummaryWriter
except ModuleNotFoundError as error:
    assert "pip install torch" in str(error), error
else:
    raise SystemExit("torch was not expected here")
"""
    run(clean / "python", "-c", script, tmp_path / "run")
    report = json.loads(run(clean / "nnhealth", "inspect", tmp_path, "--format", "json"))
    assert [r["run"] for r in report["runs"]] == ["run"]
    assert report["runs"][0]["steps"] == 29


def test_tensorboard_shows_the_tab(clean: Path, tmp_path: Path):
    server = subprocess.Popen(
        [str(clean / "tensorboard"), "--logdir", str(tmp_path), "--port", "0", "--host", "localhost"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        address = next(found[0] for line in server.stderr if (found := re.search(r"http://localhost:\d+/", line)))
        deadline = time.monotonic() + 60
        while "nnhealth" not in (listing := json.load(urllib.request.urlopen(f"{address}data/plugins_listing"))):
            assert time.monotonic() < deadline, listing
        assert listing["nnhealth"]["tab_name"] == "NN Health"
        with urllib.request.urlopen(f"{address}data/plugin/nnhealth/index.js") as reply:
            assert b"render" in reply.read()
    finally:
        server.kill()
        server.wait()
