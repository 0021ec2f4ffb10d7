"""Writes what README.md and docs/proof.md show, each piece by itself or, with ``all``, one after the other.

    python tools/readme.py inspection LOGDIR    # LOGDIR: what `make demo` trained
    python tools/readme.py pictures LOGDIR
    python tools/readme.py proof
    python tools/readme.py all [LOGDIR]

Each piece stands between two comments that name the command it comes from. What the zoo measured is written by
``tools/zoo.py``.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pieces import write_piece

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PROOF = ROOT / "docs" / "proof.md"
SHOWN = "learning_rate_too_high"
PICTURES = {"panel.png": (SHOWN, False), "panel-dark.png": (SHOWN, True), "healthy.png": ("healthy_cnn", False)}


def inspection(log_dir: Path) -> None:
    """What ``nnhealth inspect`` says of one run, without its list of checks."""
    command = [sys.executable, "-m", "tb_nnhealth.cli.main", "inspect", str(log_dir), "--only", SHOWN, "--no-config"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    shown = f"```\n$ nnhealth inspect runs --only {SHOWN}\n{told.partition('  checks:')[0].rstrip()}\n```"
    write_piece(README, "inspection", shown)


def proof() -> None:
    """A row that is wrong stands in the table as such, and is no reason not to write it."""
    done = subprocess.run([sys.executable, "-m", "tests.trainings.proof"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if not done.stdout.startswith("| rule"):
        raise SystemExit(f"the proof did not print its table: exit status {done.returncode}")
    write_piece(PROOF, "proof", done.stdout.strip())


def pictures(log_dir: Path) -> None:
    """Pictures of the tab in a real TensorBoard, at one and a half times the pixels."""
    from playwright.sync_api import sync_playwright

    (ROOT / "docs" / "images").mkdir(parents=True, exist_ok=True)
    server = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", str(log_dir), "--port", "0", "--host", "localhost"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        address = next(found[0] for line in server.stderr if (found := re.search(r"http://localhost:\d+/", line)))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for name, (run, dark) in PICTURES.items():
                page = browser.new_page(viewport={"width": 1440, "height": 1500}, device_scale_factor=1.5)
                page.goto(f"{address}?darkMode={str(dark).lower()}#nnhealth&p.nnhealth.run={run}")
                frame = page.frame_locator("iframe").first
                frame.locator("canvas").nth(2).wait_for()
                page.wait_for_load_state("networkidle")
                page.wait_for_timeout(1500)
                page.screenshot(path=ROOT / "docs" / "images" / name)
                page.close()
            browser.close()
    finally:
        server.kill()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("piece", choices=("inspection", "pictures", "proof", "all"))
    parser.add_argument("logdir", nargs="?", type=Path, help="trained anew where it is not given")
    given = parser.parse_args()
    if given.piece != "proof":
        log_dir = given.logdir or Path(tempfile.mkdtemp())
        if given.logdir is None:
            subprocess.run([sys.executable, "-m", "tb_nnhealth.demo", str(log_dir)], check=True)
        if given.piece in ("pictures", "all"):
            pictures(log_dir)
        if given.piece in ("inspection", "all"):
            inspection(log_dir)
    if given.piece in ("proof", "all"):
        proof()


if __name__ == "__main__":
    main()
