"""The package builds, and works from its wheel without PyTorch, on the newest and the oldest of what it requires."""

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

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
TO_SERVE_OLD_TENSORBOARD = "setuptools<82"
"""TensorBoard up to 2.20 imports pkg_resources, and does not say so in what it requires."""
RECORDING = """
import sys
from tb_nnhealth import Recorder
with Recorder(sys.argv[1]) as recorder:
    for step in range(30):
        recorder.record(step, {"layer.weight": {"rms": 0.1, "mean": 0.0}, "layer.weight:update": {"rms": 1e-4}})
"""
ALONE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
"""What finds no package but those installed."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("packaging")]


def run(*command: str | Path, **options) -> str:
    parts = [str(part) for part in command]
    done = subprocess.run(parts, capture_output=True, text=True, check=False, env=ALONE, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the source distribution, and the wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", out, ROOT)
    return out


def oldest() -> list[str]:
    """The oldest release that each requirement of the package admits."""
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return [f"{name}=={least}.*" for name, least in (r.split(">=") for r in requirements if ";" not in r)]


@pytest.fixture(scope="module", params=["newest", "oldest"])
def clean(request: pytest.FixtureRequest, distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment that holds the wheel and what it requires, no more."""
    home = tmp_path_factory.mktemp(request.param)
    venv.create(home, with_pip=True)
    commands = home / ("Scripts" if os.name == "nt" else "bin")
    old = [*oldest(), TO_SERVE_OLD_TENSORBOARD] if request.param == "oldest" else []
    run(commands / "python", "-m", "pip", "install", "--quiet", next(distributions.glob("*.whl")), *old)
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
    script = f"""{RECORDING}
assert "torch" not in sys.modules
try:
    from tb_nnhealth import SummaryWriter
except ModuleNotFoundError as error:
    assert "pip install torch" in str(error), error
else:
    raise SystemExit("torch was not expected here")
"""
    run(clean / "python", "-c", script, tmp_path / "run")
    report = run(clean / "nnhealth", "inspect", tmp_path, "--format", "json")
    [judged] = json.loads(report)["runs"]
    assert (judged["run"], judged["steps"]) == ("run", 29)
    here = (sys.executable, "-m", "tb_nnhealth.cli.main")
    assert report == run(*here, "inspect", tmp_path, "--format", "json", cwd=ROOT)


def test_tensorboard_shows_the_tab(clean: Path, tmp_path: Path):
    run(clean / "python", "-c", RECORDING, tmp_path / "run")
    server = subprocess.Popen(
        [str(clean / "tensorboard"), "--logdir", str(tmp_path), "--port", "0", "--host", "localhost"],
        stderr=subprocess.PIPE,
        text=True,
        env=ALONE,
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
        runs = f"{address}data/plugin/nnhealth/runs"
        while (listed := json.load(urllib.request.urlopen(runs)))["pending"] or not listed["runs"]:
            assert time.monotonic() < deadline, listed
        assert [(row["run"], row["steps"]) for row in listed["runs"]] == [("run", 29)]
    finally:
        server.kill()
        server.wait()
