"""Writes docs/gallery.md and its pictures: five illnesses, each with the same training after the fix.

    python tools/gallery.py [LOGDIR]

Trains both of each on the demo's data (what LOGDIR holds is not trained anew), saves the report of all runs, and
photographs it. What the panel says is
taken from the report; why, and what fixed it, stand here.
"""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "gallery.md"
IMAGES = ROOT / "docs" / "images" / "gallery"
COLOURS = 255
STEPS = 300


@dataclass(frozen=True)
class Case:
    """An illness: its trainings, and the two sentences that the report does not say."""

    name: str
    title: str
    ill: Callable[[Any, Any], None]
    cured: Callable[[Any, Any], None]
    why: str
    fix: str


def cases(demo: ModuleType) -> list[Case]:
    import torch
    from torch import nn

    def part(name: str) -> Any:
        return importlib.import_module(f"{demo.__name__}.{name}")

    data, loops, models = part("data"), part("loops"), part("models")

    def classify(writer: Any, progress: Any, model: Any, optimizer: Any) -> None:
        loops.classify(writer, model, optimizer, data.digits(), steps=STEPS, progress=progress)

    def slower(writer: Any, progress: Any) -> None:
        text = data.characters()
        model = models.CharacterTransformer(len(text.alphabet))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        rate = loops.warm_up(0.1, 20)
        loops.predict_characters(writer, model, optimizer, text, steps=200, progress=progress, learning_rate=rate)

    def rectified(writer: Any, progress: Any) -> None:
        model = models.mlp(depth=4, width=64, activation=nn.ReLU)
        for layer in model:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        classify(writer, progress, model, torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9))

    def without_accident(writer: Any, progress: Any) -> None:
        model = models.mlp(depth=3, width=64, activation=nn.ReLU)
        classify(writer, progress, model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9))

    def replaced_head(forgotten: bool) -> Callable[[Any, Any], None]:
        def train(writer: Any, progress: Any) -> None:
            model = models.cnn()
            held = list(model.parameters())
            model[8] = nn.Linear(32 * 16, 64)  # replaced after the optimizer took its parameters
            optimizer = torch.optim.AdamW(held if forgotten else model.parameters(), lr=1e-3)
            classify(writer, progress, model, optimizer)

        return train

    return [
        Case(
            "learning-rate",
            "A learning rate that warms up too far",
            part("learning_rate_too_high").train,
            slower,
            "The rate rises to fifty times what this network bears; once a step rewrites a tenth of a weight, the "
            "gradient no longer describes where the step ends.",
            "A peak of 0.1 in place of 5: the advice of the finding, as a number.",
        ),
        Case(
            "dead-units",
            "Units that never fire again",
            part("dead_units").train,
            without_accident,
            "At step 60 one careless write pushed the biases of a layer far below zero; a rectifier that is silent for "
            "every input has no gradient, so it cannot come back.",
            "The same training without that write; where a large step did it, a lower rate or clipping does the same.",
        ),
        Case(
            "vanishing-gradients",
            "Ten layers of sigmoids",
            part("vanishing_gradients").train,
            rectified,
            "A sigmoid passes on at most a quarter of the gradient, so ten of them leave the first layers a millionth.",
            "Rectifiers with He initialization, and four layers, which these digits do not exceed.",
        ),
        Case(
            "softmax",
            "A softmax before the cross-entropy",
            part("softmax_before_cross_entropy").train,
            part("healthy_cnn").train,
            "`CrossEntropyLoss` applies a softmax of its own; after two the outputs lie between 0 and 1, the loss "
            "cannot fall below 1.46, and the training goes on, slowly, as if nothing were wrong.",
            "The last layer removed, nothing else.",
        ),
        Case(
            "forgotten-layer",
            "A layer that the optimizer never got",
            replaced_head(True),
            replaced_head(False),
            "The layer was replaced after the optimizer had been made, which still holds the old one; nothing fails, "
            "for the other layers learn around it.",
            "The optimizer made after the model is complete.",
        ),
    ]


def load_demo() -> ModuleType:
    """The demo's package, which lies beside this one in a checkout."""
    found = importlib.util.find_spec("tb_nnhealth.demo")
    if found is not None:
        return importlib.import_module("tb_nnhealth.demo")
    sys.path.insert(0, str(ROOT))
    return importlib.import_module("demo")


def train(wanted: list[Case], log_dir: Path) -> None:
    import torch

    from tb_nnhealth import SummaryWriter

    torch.set_num_threads(1)
    for case in wanted:
        for kind, training in (("ill", case.ill), ("fixed", case.cured)):
            if (log_dir / case.name / kind).exists():
                continue
            torch.manual_seed(0)
            with SummaryWriter(str(log_dir / case.name / kind)) as writer:
                training(writer, lambda step: None)
            print(f"{case.name}/{kind}", file=sys.stderr)


def inspected(log_dir: Path, form: str, *more: str) -> str:
    command = [sys.executable, "-m", "tb_nnhealth.cli.main", "inspect", str(log_dir), "--no-config", "--format", form]
    return subprocess.run([*command, *more], capture_output=True, text=True, check=True).stdout


def photograph(wanted: list[Case], report: Path) -> None:
    """Of each the ill run's verdict and findings, and below them the verdict of the run after the fix."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1320, "height": 1150})

        def taken(run: str, *regions: str) -> list[Any]:
            page.goto("about:blank")
            page.goto(f"{report.as_uri()}#nnhealth&p.nnhealth.run={run.replace('/', '%2F')}")
            page.locator(".run-title").get_by_text(run, exact=True).wait_for()
            page.locator(".heatmap-cells").wait_for()
            page.wait_for_timeout(800)
            found = [page.get_by_role("region", name=name, exact=True).screenshot() for name in regions]
            return [Image.open(io.BytesIO(data)).convert("RGB") for data in found]

        for case in wanted:
            parts = taken(f"{case.name}/ill", "Verdict", "Findings") + taken(f"{case.name}/fixed", "Verdict")
            joined = Image.new("RGB", (max(p.width for p in parts), sum(p.height + 16 for p in parts)), "#f5f6f7")
            top = 0
            for picture in parts:
                joined.paste(picture, (0, top))
                top += picture.height + 16
            joined.quantize(COLOURS, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE).save(
                IMAGES / f"{case.name}.png", optimize=True
            )
        browser.close()


def write(wanted: list[Case], reports: dict[str, Any]) -> None:
    lines = [
        "<!-- Written by tools/gallery.py; edit that instead. -->",
        "",
        "# Five illnesses",
        "",
        "Each picture shows what the tab says of an ill run, and below it the verdict of the same training after the "
        "fix. Trained on the demo's data by `python tools/gallery.py`.",
    ]
    for case in wanted:
        told = reports[f"{case.name}/ill"]["summary"].rstrip(".")
        lines += [
            "",
            f"## {case.title}",
            "",
            f"![{case.title}: verdict and findings, and the verdict after the fix](images/gallery/{case.name}.png)",
            "",
            f"**The panel says:** {told}. **Why:** {case.why} **What fixed it:** {case.fix}",
        ]
    PAGE.write_text("\n".join(lines) + "\n", "utf-8")


def main() -> None:
    wanted = cases(load_demo())
    with tempfile.TemporaryDirectory() as folder:
        log_dir = Path(sys.argv[1] if len(sys.argv) > 1 else folder) / "gallery"
        train(wanted, log_dir)
        reports = {report["run"]: report for report in json.loads(inspected(log_dir, "json"))["runs"]}
        for run, report in reports.items():
            print(f"{run}: {report['verdict']}: {report['summary']}", file=sys.stderr)
        page = Path(folder) / "report.html"
        inspected(log_dir, "html", "--output", str(page))
        photograph(wanted, page)
        write(wanted, reports)


if __name__ == "__main__":
    main()
