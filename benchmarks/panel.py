"""How quick the tab is, in headless Chromium: ``python -m benchmarks.panel [--quick] [--json FILE]``.

TensorBoard serves generated logs: many runs, among them a very large one. From a TensorBoard whose page stands on
another tab, NN Health is clicked; measured is until verdict, heatmap and list have been painted, then how long an
interaction takes until its result is painted, the frames while the cursor moves, and what is sent. "Painted" is two
animation frames after the page says that it is no longer busy. Beside it TensorBoard's own Histograms and Time Series
on fewer layers and steps, written with PyTorch's writer: the same amount would take hours to write.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import panel_logs
from benchmarks.machine import machine
from tb_nnhealth.plugin.page import STATIC

RESULTS = Path(__file__).parent / "results" / "panel.json"
FRAME = "iframe[src*='plugin_entry.html?name=nnhealth']"
PATIENCE = 300_000
"""Milliseconds for what the page is waited for."""
PEER_PATIENCE = 60_000
SERVING = re.compile(r"at (http://\S+) \(Press CTRL")

WATCH = """
(condition) => new Promise((done) => {
  const begun = window.clickedAt ?? performance.now();
  window.clickedAt = undefined;
  const met = new Function("root", "return " + condition);
  const look = () => {
    const frame = document.querySelector("FRAME");
    const root = frame ? frame.contentDocument : document;
    if (root && root.body && met(root)) {
      requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - begun)));
    } else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})
""".replace("FRAME", FRAME)
IDLE = "!root.querySelector('[aria-busy=true]')"
CURSOR = """
(count) => new Promise((done) => {
  const root = document.querySelector("FRAME").contentDocument;
  const cells = root.querySelector(".heatmap-cells");
  const box = cells.getBoundingClientRect();
  const work = [];
  let i = 0;
  const step = () => {
    const x = box.left + (box.width * (i + 0.5)) / count;
    const begun = performance.now();
    cells.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX: x, clientY: box.top + 8 }));
    const after = new MessageChannel();
    requestAnimationFrame(() => {
      after.port1.onmessage = () => {
        work.push(performance.now() - begun);
        i++ < count ? requestAnimationFrame(step) : done(work);
      };
      after.port2.postMessage(0);
    });
  };
  step();
})
""".replace("FRAME", FRAME)


@dataclass
class Row:
    what: str
    value: float
    unit: str
    goal: float | None = None


class Rows(list[Row]):
    """Rows that are told on standard error as they come: a measurement takes minutes."""

    def append(self, row: Row) -> None:
        print(f"{row.what}: {row.value:.4g} {row.unit}", file=sys.stderr, flush=True)
        super().append(row)


class Sent:
    """What the tab's routes have sent."""

    def __init__(self, page: Any) -> None:
        self.of: dict[str, list[int]] = {}
        page.on("response", self._note)

    def _note(self, response: Any) -> None:
        route = response.url.partition("/plugin/nnhealth/")[2].partition("?")[0]
        if route and response.status == 200:
            length = response.headers.get("content-length")
            self.of.setdefault(route, []).append(int(length) if length else 0)


@contextmanager
def served(logdir: Path) -> Iterator[str]:
    with tempfile.TemporaryFile("w+") as told:
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--port", "0"]
        process = subprocess.Popen(command, stdout=told, stderr=subprocess.STDOUT)
        try:
            while not (found := SERVING.search(os.pread(told.fileno(), 100_000, 0).decode())):
                if process.poll() is not None:
                    raise SystemExit("TensorBoard did not start")
                time.sleep(0.1)
            yield found[1]
        finally:
            process.terminate()
            process.wait()


def click(page: Any, tab: str, condition: str) -> float:
    """Milliseconds from the click on a tab, as the page meets it, until ``condition``."""
    note = "() => addEventListener('click', () => { window.clickedAt = performance.now(); }, { capture: true })"
    page.evaluate(note)
    page.get_by_role("tab", name=tab, exact=True).click()
    elapsed: float = page.evaluate(WATCH, condition)
    return elapsed


def ours(page: Any, address: str, rounds: int, last: int) -> list[Row]:
    page.goto(f"{address}#timeseries")
    page.get_by_role("tab", name="NN Health").wait_for()
    time.sleep(5)  # TensorBoard has read the logs
    sent = Sent(page)
    rows: list[Row] = Rows()
    listed = click(page, "NN Health", "root.querySelector('.runs li, .overview tbody tr, .verdict h1')")
    rows.append(Row("the runs are listed after the click", listed, "ms", 1000))
    page.evaluate("(run) => location.hash = '#nnhealth&p.nnhealth.run=' + run", panel_logs.LARGE)
    drawn = f"root.querySelector('.run-title')?.textContent === '{panel_logs.LARGE}' && {IDLE}"
    heatmap = "root.querySelector('.heatmap-cells')"
    rows.append(
        Row("the large run, read and judged for the first time", page.evaluate(WATCH, f"{drawn} && {heatmap}"), "ms")
    )
    page.evaluate(WATCH, "!/Judging|pending/.test(root.body.textContent)")

    page.reload()
    warm = page.evaluate(WATCH, f"{drawn} && {heatmap}")
    rows.append(Row("the same page anew: verdict and heatmap painted", warm, "ms", 1000))
    frame = page.frame_locator(FRAME)
    rows += interactions(page, frame, rounds, last)
    work = page.evaluate(CURSOR, 120)
    rows.append(Row("a move of the cursor, 95 of 100 painted within", statistics.quantiles(work, n=20)[18], "ms", 16.7))
    most = max(((size, route) for route, sizes in sent.of.items() for size in sizes), default=(0, ""))
    rows.append(Row(f"the longest reply ({most[1]})", most[0] / 1e6, "MB", 1))
    rows.append(Row("all replies together", sum(map(sum, sent.of.values())) / 1e6, "MB"))
    return rows


def interactions(page: Any, frame: Any, rounds: int, last: int) -> list[Row]:
    """Median time until the result of a statistic, a zoom and another run is painted, each first and when known."""
    chooser = frame.get_by_label("Statistic", exact=True)
    options = chooser.locator("option").evaluate_all("(all) => all.map((o) => [o.value, o.textContent.trim()])")
    rows: list[Row] = Rows()
    for title, values in (("first", options[: rounds + 1]), ("known", options[: rounds + 1])):
        times = []
        for value, name in values[1:] + values[:1]:
            begun = page.evaluate("performance.now()")
            chooser.evaluate(
                "(select, value) => { select.value = value; select.dispatchEvent(new Event('change', {bubbles: 1})); }",
                value,
            )
            shown = "root.querySelector('.heatmap-cells').getAttribute('aria-label')"
            page.evaluate(WATCH, f"{shown}.startsWith('Heatmap of {name}.') && {IDLE}")
            times.append(page.evaluate("performance.now()") - begun)
        rows.append(Row(f"another statistic, {title}", statistics.median(times), "ms", 100))
    for title in ("first", "known"):
        times = []
        for i in range(rounds):
            begun = page.evaluate("performance.now()")
            steps = f"{last * (i + 1) // 100}-{last * (60 + i) // 100}"
            page.evaluate(
                "([run, steps]) => location.hash = `#nnhealth&p.nnhealth.run=${run}&p.nnhealth.steps=${steps}`",
                [panel_logs.LARGE, steps],
            )
            page.evaluate(
                WATCH, f"root.body.textContent.replaceAll(',', '').includes('{steps.replace('-', '–')}') && {IDLE}"
            )
            times.append(page.evaluate("performance.now()") - begun)
        rows.append(Row(f"zoom, {title}", statistics.median(times), "ms", 100))
    for title in ("first", "known"):
        times = []
        for i in range(1, rounds + 1):
            name = f"sweep/seed{i:03d}"
            begun = page.evaluate("performance.now()")
            page.evaluate("(run) => location.hash = '#nnhealth&p.nnhealth.run=' + encodeURIComponent(run)", name)
            page.evaluate(WATCH, f"root.querySelector('.run-title')?.textContent === '{name}' && {IDLE}")
            times.append(page.evaluate("performance.now()") - begun)
        rows.append(Row(f"another run, {title}", statistics.median(times), "ms", 100))
    return rows


def theirs(page: Any, address: str) -> list[Row]:
    from playwright.sync_api import TimeoutError

    rows: list[Row] = Rows()
    for tab, drawn in (
        ("Time Series", "card-view svg, card-view canvas"),
        ("Histograms", "vz-histogram-timeseries svg"),
    ):
        page.goto(f"{address}#hparams")
        opener = page.get_by_role("tab", name=tab, exact=True)
        opener.wait_for()
        time.sleep(3)
        received: list[int] = []
        page.on("response", lambda response, to=received: to.append(int(response.headers.get("content-length", 0))))
        begun = time.monotonic()
        opener.click()
        what = f"TensorBoard's {tab}: its first chart after the click"
        try:
            page.locator(drawn).first.wait_for(state="attached", timeout=PEER_PATIENCE)
        except TimeoutError:
            what += ", given up"
        rows.append(Row(what, 1000 * (time.monotonic() - begun), "ms"))
        page.wait_for_load_state("networkidle")
        rows.append(Row(f"TensorBoard's {tab}: sent for the first charts", sum(received) / 1e6, "MB"))
    return rows


def bundle() -> list[Row]:
    first = re.findall(r'"(\./parts/[^"]+)"', (STATIC / "index.js").read_text("utf-8").partition("import(")[0])
    files = [STATIC / "index.js", STATIC / "index.css", *(STATIC / name for name in first)]
    size = sum(len(gzip.compress(file.read_bytes())) for file in dict.fromkeys(files))
    return [Row("what the first page loads, gzipped", size / 1e3, "kB", 60)]


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small logs, to see that it runs")
    parser.add_argument("--json", type=Path, default=RESULTS)
    given = parser.parse_args()
    runs, layers, steps, rounds = (10, 50, 2_000, 2) if given.quick else (200, 1_000, 100_000, 5)
    peer_layers, peer_steps = (5, 50) if given.quick else (50, 500)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        mine, peers = Path(folder) / "ours", Path(folder) / "theirs"
        panel_logs.many(mine, runs - 1)
        records = panel_logs.large(mine, layers, steps)
        panel_logs.by_pytorch(peers, peer_layers, peer_steps)
        executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(PATIENCE)
        with served(mine) as address:
            found = ours(page, address, rounds, steps)
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(PATIENCE)
        with served(peers) as address:
            found += theirs(page, address)
        browser.close()
        sizes = {
            name: sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            for name, path in (("ours", mine), ("theirs", peers))
        }
    found += bundle()
    megabytes = {name: round(size / 1e6) for name, size in sizes.items()}
    print(f"{runs} runs, one of {layers:,} layers, {steps:,} steps, {records:,} records ({megabytes['ours']} MB)")
    print(f"TensorBoard's tabs: one run, {peer_layers} layers, {peer_steps} steps ({megabytes['theirs']} MB)\n")
    print("| | measured | goal | |\n| --- | ---: | ---: | --- |")
    for row in found:
        met = "" if row.goal is None else ("met" if row.value <= row.goal else "missed")
        goal = "" if row.goal is None else f"{row.goal:g} {row.unit}"
        print(f"| {row.what} | {row.value:,.3g} {row.unit} | {goal} | {met} |".replace("e+03", "e3"))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    logs = {
        "runs": runs,
        "layers": layers,
        "steps": steps,
        "records": records,
        "bytes": sizes,
        "peer_layers": peer_layers,
        "peer_steps": peer_steps,
    }
    given.json.write_text(
        json.dumps({"machine": machine(), "logs": logs, "rows": [asdict(row) for row in found]}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
