"""The callback in Hugging Face's Trainer, and plain ``watch`` of its models."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from digits import FAULTS, diagnosed, digits, judged, network, recorded, same
from torch import nn

from tb_nnhealth import SummaryWriter, schema
from tb_nnhealth.record.faults import ShimWarning

pytest.importorskip("accelerate")
transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


class Digits(nn.Module):
    """A model as the Trainer wants it: it computes its own loss."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.net = network(fault)
        self.criterion = nn.CrossEntropyLoss()

    def forward(self, pixels: Any, labels: Any) -> dict[str, Any]:
        logits = self.net(pixels)
        return {"loss": self.criterion(logits, labels), "logits": logits}


def rows() -> tuple[list[Any], list[Any]]:
    train, validation = ([{"pixels": x, "labels": y} for x, y in part] for part in digits())
    return train, validation


def bert() -> Any:
    transformers.set_seed(0)
    sizes = {"hidden_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 256}
    config = transformers.BertConfig(vocab_size=50, max_position_embeddings=16, **sizes)
    return transformers.BertForSequenceClassification(config)


def texts(samples: int = 640) -> list[dict[str, Any]]:
    """Sequences of 16 tokens, and whether most of them are among the lower half of the vocabulary."""
    tokens = torch.randint(1, 50, (samples, 16), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": row, "labels": int((row < 25).sum() > 8)} for row in tokens]


def train(model: Any, place: Path, *callbacks: Any, data: Any = None, fault: str = "", **arguments: Any) -> Any:
    common = {
        "num_train_epochs": 6, "per_device_train_batch_size": 64, "logging_steps": 2, "save_strategy": "no",
        "report_to": "none", "disable_tqdm": True, "use_cpu": True, "seed": 1, "eval_strategy": "epoch",
        "learning_rate": 0.3 if fault == "learning rate" else 3e-3,
    }  # fmt: skip
    given = transformers.TrainingArguments(output_dir=str(place), **{**common, **arguments})
    learn, check = rows() if data is None else (data[:512], data[512:])
    trainer = transformers.Trainer(
        model=model, args=given, train_dataset=learn, eval_dataset=check, callbacks=list(callbacks)
    )
    trainer.train(resume_from_checkpoint=arguments.get("resume_from_checkpoint"))
    return trainer


def callback(place: Path, **options: Any) -> Any:
    from tb_nnhealth.integrations.transformers import NNHealthCallback

    return NNHealthCallback(place / "log", **options)


def test_one_line_makes_one_run_of_scalars_and_health_and_changes_nothing(tmp_path: Path) -> None:
    health = callback(tmp_path, every=1)
    watched, alone = Digits(), Digits()
    trainer = train(watched, tmp_path, health)
    train(alone, tmp_path)
    assert same(watched, alone)
    trainer.evaluate()
    (run,) = recorded(tmp_path).values()
    assert {"train/loss", "eval/loss", "train/learning_rate", "train/train_loss"} <= run.scalars.keys()
    records = run.watches[schema.DEFAULT_WATCH]
    assert records.steps.tolist() == list(range(1, trainer.state.global_step + 1))
    assert set(run.scalars["train/loss"].steps) <= set(records.steps)
    diagnosed(health.findings(), "")
    diagnosed(judged(tmp_path), "")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_first(fault: str, tmp_path: Path) -> None:
    health = callback(tmp_path)
    train(Digits(fault), tmp_path, health, fault=fault)
    diagnosed(health.findings(), fault)
    diagnosed(judged(tmp_path), fault)


def test_a_model_of_the_library_with_accumulation_and_clipping(tmp_path: Path) -> None:
    how = {"gradient_accumulation_steps": 2, "max_grad_norm": 0.05, "learning_rate": 1e-3, "data": texts()}
    how["per_device_train_batch_size"] = 16
    health = callback(tmp_path, every=1)
    watched, alone = bert(), bert()
    trainer = train(watched, tmp_path, health, **how)
    train(alone, tmp_path, **how)
    assert same(watched, alone)
    (run,) = recorded(tmp_path).values()
    history = run.watches[schema.DEFAULT_WATCH]
    assert history.steps.tolist() == list(range(1, trainer.state.global_step + 1))
    assert history.table(schema.LOSS, schema.MEAN).values[0, 0] == pytest.approx(0.69, abs=0.1)
    assert set(history.subjects(schema.UPDATE)) == {name for name, _ in watched.named_parameters()}
    sizes = {name: parameter.numel() for name, parameter in watched.named_parameters()}
    gradients = history.table(schema.GRADIENT, schema.RMS)
    squares = sum(gradients.values[:, i] ** 2 * sizes[name] for i, name in enumerate(gradients.subjects))
    assert squares.max() == pytest.approx(0.05**2, rel=1e-2), "the gradient applied is the clipped one"
    diagnosed(health.findings(), "")


def test_a_training_that_resumes_goes_on_in_its_run(tmp_path: Path) -> None:
    saving = {"save_strategy": "steps", "save_steps": 44, "max_steps": 44, "lr_scheduler_type": "constant"}
    train(Digits(), tmp_path, callback(tmp_path, every=1), **saving)
    (saved,) = tmp_path.glob("checkpoint-*")
    resume = {"resume_from_checkpoint": str(saved), "max_steps": 88, "lr_scheduler_type": "constant"}
    watched, alone = Digits(), Digits()
    train(watched, tmp_path, callback(tmp_path, every=1), **resume)
    train(alone, tmp_path, **resume)
    assert same(watched, alone)
    (run,) = recorded(tmp_path / "log").values()
    assert run.watches[schema.DEFAULT_WATCH].steps.tolist() == list(range(1, 89))
    assert not [finding for finding in judged(tmp_path / "log") if finding.severity != "info"]


def test_it_can_be_reported_to_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    importlib.import_module("tb_nnhealth.integrations.transformers")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "log"))
    train(Digits("softmax"), tmp_path, fault="softmax", report_to="nnhealth")
    diagnosed(judged(tmp_path), "softmax")


def test_a_second_logger_to_tensorboard_is_advised_against(tmp_path: Path) -> None:
    with pytest.warns(ShimWarning, match="leave it out"):
        train(Digits(), tmp_path, callback(tmp_path), report_to="tensorboard", max_steps=2)


def test_no_hook_remains_and_trainings_may_follow_each_other(tmp_path: Path) -> None:
    health = callback(tmp_path, every=1)
    for _ in range(2):
        model = Digits()
        train(model, tmp_path, health, max_steps=5)
        assert not model._forward_pre_hooks
    (run,) = recorded(tmp_path).values()
    assert run.watches[schema.DEFAULT_WATCH].steps.tolist() == [1, 2, 3, 4, 5]


def test_plain_watch_works_with_the_trainers_optimizer(tmp_path: Path) -> None:
    class Watch(transformers.TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            writer.watch(given["model"], given["optimizer"], every=1)

    with SummaryWriter(tmp_path / "log") as writer:
        trainer = train(Digits("softmax"), tmp_path, Watch(), gradient_accumulation_steps=2)
    (run,) = recorded(tmp_path).values()
    assert len(run.watches[schema.DEFAULT_WATCH]) == trainer.state.global_step


def test_unknown_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="NNHealthCallback got evry"):
        callback(tmp_path, evry=1)


def test_missing_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers.integrations", None)
    monkeypatch.delitem(sys.modules, "tb_nnhealth.integrations.transformers", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'tb-nnhealth\[transformers\]'"):
        importlib.import_module("tb_nnhealth.integrations.transformers")
