"""Writes into README.md what it shows: the picture of the tab, an inspection, and the table of the proof.

    python tools/readme.py LOGDIR    # LOGDIR: what `make demo` trained

Each piece stands between two comments that name the command it comes from.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
SHOWN = "learning_rate_too_high"
PICTURES = {"panel.png": (SHOWN, False), "panel-dark.png": (SHOWN, True), "healthy.png": ("healthy_cnn", False)}


def inspection(log_dir: Path) -> str:
    """What ``nnhealth inspect`` says of one run, without its list of checks."""
    command = [sys.executable, "-m", "tb_nnhealth.cli.main", "inspect", str(log_dir / SHOWN)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    told = told.replace("critical  .", f"critical  {SHOWN}")
    return f"```\n$ nnhealth inspect runs/{SHOWN}\n{told.partition('  checks:')[0].rstrip()}\n```"


def proof() -> str:
    return subprocess.run(
        [sys.executable, "-m", "tests.trainings.proof"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()


def photograph(log_dir: Path) -> None:
    """Pictures of the tab in a real TensorBoard, at twice the pixels."""
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


def replaced(text: str, name: str, piece: str) -> str:
    pattern = re.compile(rf"(<!-- {name}:[^>]*-->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"README.md: expected <!-- {name}: COMMAND --> … <!-- end -->, found none")
    return pattern.sub(lambda found: f"{found[1]}\n{piece}\n\n{found[2]}", text)


def main() -> None:
    log_dir = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
    if len(sys.argv) < 2:
        subprocess.run([sys.executable, "-m", "tb_nnhealth.demo", str(log_dir)], check=True)
    photograph(log_dir)
    text = replaced(README.read_text("utf-8"), "inspection", inspection(log_dir))
    README.write_text(replaced(text, "proof", proof()), "utf-8")


if __name__ == "__main__":
    main()
