"""The states of the tab whose pictures are kept, and the command that renews the pictures.

    python tests/browser/references.py        # renews all; look at what `git diff` shows before committing them

The runs are synthetic and the clock stands still, so that a picture changes only with the code that draws it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.rules.activations.attention_heads import attending
from tb_nnhealth.rules.synthetic import Network

PICTURES = Path(__file__).parent / "references"
CHROMIUM = PICTURES / "chromium.txt"
"""The version that drew the pictures."""
RENEW = "NNHEALTH_RENEW_REFERENCES"
NOW = 1_700_000_600.0
"""What the page's clock shows, seconds since 1970."""
WIDTHS = (1280, 1920)
THEMES = ("light", "dark")


@dataclass(frozen=True)
class State:
    """``logs``: which directory; ``place``: the address within the tab; ``ready``: text that shows when it is there."""

    name: str
    logs: str
    place: str
    ready: str


STATES = (
    State("run", "runs", "&p.nnhealth.run=ill", "What to try"),
    State("layer", "runs", "&p.nnhealth.run=ill&p.nnhealth.layer=attention", "Attention heads"),
    State("weights", "runs", "&p.nnhealth.run=ill&p.nnhealth.layer=layers.2", "Gradients"),
    State("healthy", "runs", "&p.nnhealth.run=healthy", "Healthy:"),
    State("runs", "runs", "&p.nnhealth.run=", "Root causes"),
    State("no-records", "scalars", "&p.nnhealth.run=plain", "plain"),
)


def write(folder: Path) -> None:
    """``folder/runs`` with an ill, a healthy and a short run, ``folder/scalars`` with scalars alone."""
    from synthetic_logs import write_log, write_scalars  # beside pytest's conftest, which is not loaded yet

    at = np.arange(200)
    learning = 2.3 * np.exp(-at / 60) + 0.3
    ill = attending(logit=400.0, entropy=0.03, ill=2, since=60)
    grown = np.where(at < 80, 1.0, 60.0)
    ill.scale(schema.ACTIVATION, "layers.2", grown).loss(np.where(at < 80, learning, 3.0))
    write_log(folder / "runs" / "ill", ill)
    write_log(folder / "runs" / "healthy", attending(loss=0.4).loss(learning))
    write_log(folder / "runs" / "flat", Network(steps=120).loss(np.full(120, 2.3)))
    write_scalars(
        folder / "scalars" / "plain", **{"loss/train": list(zip(at.tolist(), learning.tolist(), strict=True))}
    )


if __name__ == "__main__":
    import pytest

    os.environ[RENEW] = "1"
    sys.exit(pytest.main([str(Path(__file__).parent / "test_references.py"), "-q", "-p", "no:xdist"]))
