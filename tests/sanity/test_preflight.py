"""preflight leaves everything as it was, takes what it is given, and says what is wrong with it."""

from __future__ import annotations

import copy
import io
import random
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sanity.specimens import CLASSES, FEATURES, VOCABULARY, Language, adam, blobs, mlp, sentences
from source.compare import assert_same_run
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tb_nnhealth import Recorder, SummaryWriter, preflight
from tb_nnhealth.sanity.registry import CHECKS
from tb_nnhealth.source.files import FileSource

QUICK = ["finite-outputs", "chance-loss", "batch-leak"]


def state() -> list[Any]:
    """All that a process has besides its objects."""
    version, python, gauss = random.getstate()
    kind, keys, *place = np.random.get_state()
    return [
        (version, python, gauss),
        (kind, keys.tolist(), place),
        torch.get_rng_state().tolist(),
        torch.initial_seed(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.is_anomaly_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        list(warnings.filters),
        len(torch.cuda._queued_calls),
    ]


class Meddling(nn.Module):
    """Draws from every generator and flips every switch; changes its input in place."""

    def __init__(self) -> None:
        super().__init__()
        random.random()
        np.random.rand()
        torch.set_default_dtype(torch.float32)
        torch.backends.cudnn.benchmark = True
        warnings.simplefilter("always")
        self.layers = nn.Sequential(nn.BatchNorm1d(FEATURES), nn.Dropout(0.5), mlp())

    def forward(self, x: Tensor) -> Tensor:
        torch.set_grad_enabled(True)
        random.random()
        return self.layers(x.mul_(2))


def test_everything_is_as_it_was_bit_for_bit() -> None:
    (x, y), criterion = blobs(), nn.CrossEntropyLoss(weight=torch.ones(CLASSES))
    criterion.eval()
    given = x.clone(), y.clone(), copy.deepcopy(criterion.state_dict())
    random.seed(3)
    np.random.seed(4)
    torch.manual_seed(5)
    torch.rand(3)
    before = state()
    report = preflight(Meddling, criterion, (x, y), make_optimizer=adam, seconds=60)
    assert state() == before
    assert torch.equal(x, given[0])
    assert torch.equal(y, given[1])
    assert all(torch.equal(criterion.state_dict()[name], value) for name, value in given[2].items())
    assert not criterion.training
    assert x.grad is None
    assert report["finite-outputs"].status == "pass"


def test_the_modes_of_autograd_stay() -> None:
    with torch.no_grad():
        report = preflight(mlp, nn.CrossEntropyLoss(), blobs(), checks=["parameters-reached"])
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        preflight(mlp, nn.CrossEntropyLoss(), blobs(), checks=QUICK)
        assert torch.is_inference_mode_enabled()
    assert report["parameters-reached"].status == "pass"


def test_a_backbone_that_the_products_share_is_left_alone() -> None:
    backbone = nn.Sequential(nn.Linear(FEATURES, 16), nn.BatchNorm1d(16), nn.ReLU())
    before = copy.deepcopy(backbone.state_dict())
    report = preflight(
        lambda: nn.Sequential(backbone, nn.Linear(16, CLASSES)),
        nn.CrossEntropyLoss(),
        blobs(),
        checks=["overfit-one-batch"],
    )
    assert report.ok
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())
    assert all(p.grad is None for p in backbone.parameters())
    assert backbone.training


def test_the_same_call_gives_the_same_report() -> None:
    reports = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        reports.append(preflight(mlp, nn.CrossEntropyLoss(), blobs(), make_optimizer=adam, seconds=120).to_json())
    assert reports[0] == reports[1]


# --- what it takes ---------------------------------------------------------------------------------------------------


@dataclass
class Output:
    logits: Tensor
    hidden: Tensor


class Named(nn.Module):
    """Takes names and gives a dataclass, or a mapping with the loss in it where it is given labels."""

    def __init__(self) -> None:
        super().__init__()
        self.language = Language()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None) -> Any:
        logits = self.language(input_ids)
        if labels is None:
            return Output(logits, logits)
        return {"loss": F.cross_entropy(logits.flatten(0, 1), labels.flatten()), "logits": logits}


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(FEATURES, CLASSES), nn.Linear(FEATURES, CLASSES)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        return self.left(left) + self.right(right), left


def test_a_mapping_with_labels_and_a_model_with_its_own_loss() -> None:
    tokens, following = sentences()
    batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": following}
    report = preflight(Named, None, batch, num_classes=VOCABULARY, causal=True, seconds=120)
    assert report.ok
    assert {report[i].status for i in ("chance-loss", "batch-leak", "causality", "parameters-reached")} == {"pass"}


def test_a_mapping_of_inputs_and_a_dataclass_of_outputs() -> None:
    tokens, following = sentences()
    report = preflight(
        Named,
        lambda outputs, targets: F.cross_entropy(outputs.logits.flatten(0, 1), targets.flatten()),
        ({"input_ids": tokens}, following),
        checks=[*QUICK, "overfit-one-batch"],
        seconds=120,
    )
    assert {check.status for check in report.checks} == {"pass"}


def test_a_compiled_model_is_run_as_it_is_written() -> None:
    compiled: list[object] = []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    torch.compiler.reset()

    def make() -> nn.Module:
        return torch.compile(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)), backend=backend)

    x, y = torch.randn(32, 8), torch.randint(0, 3, (32,))
    report = preflight(make, nn.CrossEntropyLoss(), (x, y), progress=False)
    assert report.ok
    assert compiled == []
    make()(x)
    assert compiled, "outside of preflight the model is compiled as ever"


def test_several_inputs_and_outputs() -> None:
    x, y = blobs()
    report = preflight(Two, nn.CrossEntropyLoss(), ((x, x.flip(0)), y), checks=[*QUICK, "parameters-reached"])
    assert {check.status for check in report.checks} == {"pass"}


def test_any_optimizer() -> None:
    report = preflight(
        mlp, nn.CrossEntropyLoss(), blobs(), make_optimizer=torch.optim.LBFGS, checks=["overfit-one-batch"]
    )
    assert report.ok


# --- what it refuses -------------------------------------------------------------------------------------------------


def test_arguments_that_cannot_be_meant_are_refused_with_a_sentence() -> None:
    batch, one = blobs(), mlp()
    ce = nn.CrossEntropyLoss()
    with pytest.raises(ValueError, match="the same model twice"):
        preflight(lambda: one, ce, batch)
    with pytest.raises(TypeError, match=r"must return a torch\.nn\.Module, found int"):
        preflight(lambda: 3, ce, batch)
    with pytest.raises(TypeError, match="found Sequential"):
        preflight(one, ce, batch)
    with pytest.raises(ValueError, match="found 3 parts"):
        preflight(mlp, ce, (*batch, 1))
    with pytest.raises(TypeError, match=r"found DataLoader; give one of its batches: next\(iter\(loader\)\)"):
        preflight(mlp, ce, DataLoader(TensorDataset(*batch)))
    with pytest.raises(ValueError, match="hold no tensor, found ndarray"):
        preflight(mlp, ce, (batch[0].numpy(), batch[1]))
    with pytest.raises(ValueError, match="under one of labels"):
        preflight(mlp, ce, {"x": batch[0]})
    with pytest.raises(ValueError, match="did you mean 'chance-loss'"):
        preflight(mlp, ce, batch, checks=["chance-los"])
    with pytest.raises(ValueError, match="holds other parameters"):
        preflight(mlp, ce, batch, make_optimizer=lambda p: torch.optim.SGD(one.parameters(), 0.1))
    with pytest.raises(TypeError, match="writer= expects"):
        preflight(mlp, ce, batch, writer="runs")
    with pytest.raises(ValueError, match="seconds="):
        preflight(mlp, ce, batch, seconds=0)


def test_what_the_model_raises_becomes_a_result() -> None:
    report = preflight(lambda: nn.Linear(FEATURES + 1, 2), nn.CrossEntropyLoss(), blobs())
    assert report.checks[0].status == "fail"
    assert "shapes cannot be multiplied" in report.checks[0].message
    assert len(report.checks) == len(CHECKS)


def test_a_check_that_runs_out_of_time_is_skipped() -> None:
    report = preflight(mlp, nn.CrossEntropyLoss(), blobs(), seconds=1e-6)
    assert {check.status for check in report.checks} == {"skip"}
    assert report.ok


# --- where it is shown -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SummaryWriter, Recorder])
def test_the_report_is_in_the_log(tmp_path: Path, kind: Any) -> None:
    with kind(str(tmp_path)) as writer:
        report = preflight(mlp, nn.CrossEntropyLoss(), blobs(), checks=QUICK, writer=writer)
    source = FileSource([tmp_path])
    source.refresh()
    run = source.run(".")
    assert run.problems == []
    assert run.preflight == report.to_json()
    recorder = writer._recorder if kind is SummaryWriter else writer
    live = recorder._health.judge._run
    live.name = run.name
    assert_same_run(live, run)


def test_progress_is_one_line_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    told = io.StringIO()
    monkeypatch.setattr(sys, "stderr", told)
    preflight(mlp, nn.CrossEntropyLoss(), blobs(), checks=QUICK, progress=True)
    assert "chance-loss" in told.getvalue()
    assert told.getvalue().endswith("\r\x1b[K")
    assert "\n" not in told.getvalue()
    told.truncate(0)
    preflight(mlp, nn.CrossEntropyLoss(), blobs(), checks=QUICK)
    assert not told.getvalue().strip("\0")


def test_the_report_prints_its_checks() -> None:
    report = preflight(mlp, nn.CrossEntropyLoss(), blobs(), checks=QUICK)
    assert [line.split()[1] for line in str(report).splitlines()] == [f"{check.id}:" for check in report.checks]
