"""The snippets of docs/integrations.md run as they stand, each on a model of its trainer's kind, and are watched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from digits import digits, network, optimizer, recorded
from torch import nn
from torch.utils.data import DataLoader

from tb_nnhealth import schema

PAGE = Path(__file__).parent.parent.parent / "docs" / "integrations.md"
SNIPPETS = dict(re.findall(r"^## (.+?)\n.*?^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE))


def names(trainer: str) -> dict[str, Any]:
    """What the snippet of ``trainer`` takes for given."""
    train, _ = digits()
    net = network()
    given: dict[str, Any] = {
        "model": net, "optimizer": optimizer(net), "criterion": nn.CrossEntropyLoss(), "dataset": train,
        "loader": DataLoader(train, 64, shuffle=True), "x": train.tensors[0].numpy(), "y": train.tensors[1].numpy(),
    }  # fmt: skip
    if trainer == "Lightning":
        pytest.importorskip("lightning")
        from test_lightning import Package

        given["model"] = Package("lightning").model()
    elif trainer == "Hugging Face Trainer":
        pytest.importorskip("transformers")
        from test_transformers import Digits, rows

        given |= {"model": Digits(), "dataset": rows()[0]}
    elif trainer != "Without PyTorch":
        pytest.importorskip(trainer.lower())
    return given


def test_the_page_has_a_snippet_for_each_trainer() -> None:
    assert list(SNIPPETS) == [
        "Lightning", "Hugging Face Trainer", "Accelerate", "Ignite", "skorch", "Without PyTorch"
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("trainer", SNIPPETS)
def test_the_snippet_runs_and_its_training_is_watched(
    trainer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    space = names(trainer)
    exec(compile(SNIPPETS[trainer], str(PAGE), "exec"), space)
    (run,) = [each for each in recorded(tmp_path / "runs").values() if each.watches]
    assert len(run.watches[schema.DEFAULT_WATCH]) >= 8
    if trainer == "Without PyTorch":
        assert [finding for finding in space["findings"] if finding.severity != "info"] == []
