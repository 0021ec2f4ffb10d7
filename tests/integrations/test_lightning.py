"""Callback, logger and entry point in Lightning's Trainer, and plain ``watch`` with its optimizers."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from digits import FAULTS, diagnosed, digits, judged, loaders, network, optimizer, rate, recorded, same
from torch import nn
from torch.utils.data import DataLoader

from tb_nnhealth import SummaryWriter, schema
from tb_nnhealth.history import Run
from tb_nnhealth.record.faults import ShimWarning

pytest.importorskip("lightning")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
PACKAGES = {"lightning": "lightning.pytorch", "pytorch_lightning": "pytorch_lightning"}


class Package:
    """One of the two packages that Lightning is, and ours for it."""

    def __init__(self, name: str) -> None:
        self.pl: Any = pytest.importorskip(PACKAGES[name])
        ours = importlib.import_module(f"tb_nnhealth.integrations.{name}")
        self.Callback, self.Logger = ours.NNHealthCallback, ours.NNHealthLogger

    def model(self, fault: str = "", *, manual: bool = False, functional: bool = False) -> Any:
        """A LightningModule whose ``forward`` nobody calls."""

        class Digits(self.pl.LightningModule):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.save_hyperparameters({"fault": fault})
                self.net = network(fault)
                self.automatic_optimization = not manual
                if not functional:
                    self.criterion = nn.CrossEntropyLoss()

            def loss_of(self, batch: Any) -> tuple[Any, Any]:
                pixels, labels = batch
                outputs = self.net(pixels)
                loss = nn.functional.cross_entropy(outputs, labels) if functional else self.criterion(outputs, labels)
                return loss, (outputs.argmax(1) == labels).float().mean()

            def training_step(self, batch: Any, index: int) -> Any:
                loss, accuracy = self.loss_of(batch)
                self.log("train_loss", loss)
                self.log("train_acc", accuracy)
                if not manual:
                    return loss
                for each in self.optimizers():
                    each.zero_grad()
                self.manual_backward(loss)
                for each in self.optimizers():
                    each.step()
                return None

            def validation_step(self, batch: Any, index: int) -> None:
                loss, accuracy = self.loss_of(batch)
                self.log("val_loss", loss)
                self.log("val_acc", accuracy)

            def configure_optimizers(self) -> Any:
                if manual:
                    parts = self.net[:2], self.net[2:]
                    return [torch.optim.SGD(part.parameters(), rate(fault), momentum=0.9) for part in parts]
                return optimizer(self, fault)

        return Digits()

    def fit(self, model: Any, epochs: int = 4, *, checkpoint: str | None = None, **arguments: Any) -> Any:
        self.pl.seed_everything(1, verbose=False)
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        rest = {"enable_checkpointing": False, "logger": False, "log_every_n_steps": 2}
        trainer = self.pl.Trainer(max_epochs=epochs, **{**quiet, **rest, **arguments})
        trainer.fit(model, *loaders(), ckpt_path=checkpoint)
        return trainer


@pytest.fixture
def lightning() -> Package:
    return Package("lightning")


def recorded_steps(run: Run) -> list[int]:
    return run.watches[schema.DEFAULT_WATCH].steps.tolist()


@pytest.mark.parametrize("name", PACKAGES)
def test_one_line_makes_one_run_of_scalars_and_health_and_changes_nothing(name: str, tmp_path: Path) -> None:
    package = Package(name)
    callback = package.Callback(every=1)
    watched, alone = package.model(), package.model()
    trainer = package.fit(watched, logger=package.Logger(tmp_path), callbacks=[callback])
    package.fit(alone)
    assert same(watched, alone)
    ((_, run),) = recorded(tmp_path).items()
    assert {"train_loss", "val_loss", "train_acc", "epoch"} <= run.scalars.keys()
    assert recorded_steps(run) == list(range(trainer.global_step))
    assert set(run.scalars["train_loss"].steps) <= set(recorded_steps(run))
    assert len(list(tmp_path.rglob("*tfevents*"))) == 1
    diagnosed(callback.findings(), "")
    diagnosed(trainer.logger.findings(), "")
    diagnosed(judged(tmp_path), "")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_first(lightning: Package, fault: str, tmp_path: Path) -> None:
    callback = lightning.Callback()
    lightning.fit(lightning.model(fault), logger=lightning.Logger(tmp_path), callbacks=[callback])
    diagnosed(callback.findings(), fault)
    diagnosed(judged(tmp_path), fault)


@pytest.mark.parametrize(
    "how",
    [
        {"accumulate_grad_batches": 2},
        {"gradient_clip_val": 0.5},
        {"precision": "bf16-mixed"},
        {"num_sanity_val_steps": 0, "val_check_interval": 5},
    ],
    ids=lambda how: next(iter(how)),
)
def test_however_the_trainer_steps(lightning: Package, how: dict[str, Any], tmp_path: Path) -> None:
    callback = lightning.Callback(every=1)
    watched, alone = lightning.model(), lightning.model()
    trainer = lightning.fit(watched, logger=lightning.Logger(tmp_path), callbacks=[callback], **how)
    lightning.fit(alone, **how)
    assert same(watched, alone)
    (run,) = recorded(tmp_path).values()
    assert recorded_steps(run) == list(range(trainer.global_step))
    diagnosed(callback.findings(), "")
    if "gradient_clip_val" in how:
        history = run.watches[schema.DEFAULT_WATCH]
        sizes = {name: parameter.numel() for name, parameter in watched.named_parameters()}
        table = history.table(schema.GRADIENT, schema.RMS)
        squares = sum(table.values[:, i] ** 2 * sizes[name] for i, name in enumerate(table.subjects))
        assert squares.max() == pytest.approx(0.25, rel=1e-3), "the gradient applied is the clipped one"


def test_scaled_gradients_are_recorded_unscaled(lightning: Package, tmp_path: Path) -> None:
    plugins = importlib.import_module("lightning.pytorch.plugins.precision")

    def scaled() -> Any:
        return plugins.MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=1024.0))

    callback = lightning.Callback(every=1)
    watched, alone = lightning.model(), lightning.model()
    lightning.fit(watched, 3, logger=lightning.Logger(tmp_path), callbacks=[callback], plugins=scaled())
    lightning.fit(alone, 3, plugins=scaled())
    assert same(watched, alone)
    (run,) = recorded(tmp_path).values()
    history = run.watches[schema.DEFAULT_WATCH]
    assert history.table(schema.LOSS_SCALE, schema.MEAN).values.max() == 1024.0
    assert history.table(schema.GRADIENT, schema.RMS).values.max() < 1.0


def test_manual_optimization_with_two_optimizers(lightning: Package, tmp_path: Path) -> None:
    callback = lightning.Callback(every=1)
    watched, alone = lightning.model(manual=True), lightning.model(manual=True)
    trainer = lightning.fit(watched, logger=lightning.Logger(tmp_path), callbacks=[callback])
    lightning.fit(alone)
    assert same(watched, alone)
    (run,) = recorded(tmp_path).values()
    assert recorded_steps(run) == list(range(trainer.global_step // 2)), "a batch is a step, not each optimizer"
    history = run.watches[schema.DEFAULT_WATCH]
    assert set(history.subjects(schema.UPDATE)) == {name for name, _ in watched.named_parameters()}
    diagnosed(callback.findings(), "")


def test_the_loss_is_seen_where_it_is_a_function(lightning: Package, tmp_path: Path) -> None:
    callback = lightning.Callback(every=1)
    logger = lightning.Logger(tmp_path)
    lightning.fit(lightning.model(functional=True), 2, logger=logger, callbacks=[callback], accumulate_grad_batches=2)
    (run,) = recorded(tmp_path).values()
    losses = run.watches[schema.DEFAULT_WATCH].table(schema.LOSS, schema.MEAN).values
    assert losses[0, 0] == pytest.approx(2.3, abs=0.2), "not the half that accumulation makes of it"


def test_a_training_that_resumes_goes_on_in_its_run(lightning: Package, tmp_path: Path) -> None:
    def training(epochs: int, health: bool, checkpoint: str | None = None) -> tuple[Any, Any]:
        model = lightning.model()
        place = tmp_path / ("with" if health else "without")
        with_us = {
            "logger": lightning.Logger(place, name="", version="run"),
            "callbacks": [lightning.Callback(every=1)],
        }
        trainer = lightning.fit(
            model, epochs, checkpoint=checkpoint, enable_checkpointing=True, default_root_dir=place,
            **(with_us if health else {}),
        )  # fmt: skip
        return model, trainer

    _, first = training(2, True)
    saved = str(tmp_path / "saved.ckpt")
    first.save_checkpoint(saved)
    resumed, second = training(4, True, saved)
    assert same(resumed, training(4, False, saved)[0])
    (run,) = recorded(tmp_path / "with").values()
    assert recorded_steps(run) == list(range(second.global_step))
    assert not [f for f in judged(tmp_path / "with") if f.severity != "info"]


def test_a_logger_of_lightnings_own_shares_the_run(lightning: Package, tmp_path: Path) -> None:
    loggers = importlib.import_module("lightning.pytorch.loggers")
    callback = lightning.Callback()
    lightning.fit(lightning.model(), logger=loggers.TensorBoardLogger(tmp_path), callbacks=[callback])
    (run,) = recorded(tmp_path).values()
    assert schema.DEFAULT_WATCH in run.watches
    assert "train_loss" in run.scalars
    diagnosed(judged(tmp_path), "")


def test_without_a_logger_the_root_directory_gets_it(lightning: Package, tmp_path: Path) -> None:
    callback = lightning.Callback()
    lightning.fit(lightning.model("softmax"), default_root_dir=tmp_path, callbacks=[callback])
    assert list(recorded(tmp_path)) == ["nnhealth"]
    diagnosed(callback.findings(), "softmax")


def test_a_training_that_raises_leaves_no_hook(lightning: Package, tmp_path: Path) -> None:
    model, callback = lightning.model(), lightning.Callback(tmp_path)

    def broken(batch: Any, batch_idx: int) -> Any:
        raise RuntimeError("the user's")

    model.training_step = broken
    with pytest.raises(RuntimeError, match="the user's"):
        lightning.fit(model, callbacks=[callback])
    assert not model._forward_pre_hooks
    assert callback.__getstate__()["_writer"] is None, "nor does a checkpoint or another process get the writer"
    assert callback.findings() == []


def test_a_fast_dev_run_writes_nothing(lightning: Package, tmp_path: Path) -> None:
    lightning.fit(lightning.model(), callbacks=[lightning.Callback()], fast_dev_run=True, default_root_dir=tmp_path)
    assert list(tmp_path.rglob("*tfevents*")) == []


def test_options_go_to_watch_and_unknown_ones_are_refused(lightning: Package, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"evry.*may be budget, .*criterion, every"):
        lightning.Callback(evry=1)
    callback = lightning.Callback(tmp_path, name="net", include="net.0", rules={"dead-units": False})
    lightning.fit(lightning.model(), 1, callbacks=[callback])
    (run,) = recorded(tmp_path).values()
    assert run.watches["net"].subjects(schema.ACTIVATION) == ("net.0",)


@pytest.mark.parametrize("name", PACKAGES)
def test_the_entry_point_watches_only_where_it_is_asked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Package(name)
    registered = importlib.metadata.entry_points(group=f"{PACKAGES[name]}.callbacks_factory")
    (entry,) = [each for each in registered if each.value.startswith("tb_nnhealth.")]
    monkeypatch.delenv("TB_NNHEALTH", raising=False)
    assert entry.load()() == []
    monkeypatch.setenv("TB_NNHEALTH", "1")
    trainer = package.fit(package.model("softmax"), logger=package.Logger(tmp_path / "asked"))
    diagnosed(trainer.logger.findings(), "softmax")
    own = package.Callback(tmp_path / "own")
    package.fit(package.model(), 1, callbacks=[own], default_root_dir=tmp_path / "unwanted")
    assert own.findings() is not None
    assert list(recorded(tmp_path / "own")) == ["."]
    assert not (tmp_path / "unwanted" / "nnhealth").exists(), "the user's own callback is enough"


def test_what_was_only_asked_by_the_environment_does_not_stop_a_training(
    lightning: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TB_NNHEALTH", "1")
    (tmp_path / "nnhealth").write_text("a file where the directory would be")
    with pytest.warns(ShimWarning, match="this training is not watched"):
        trainer = lightning.fit(lightning.model(), 1, default_root_dir=tmp_path)
    assert trainer.global_step > 0


def test_plain_watch_works_inside_a_lightning_module(lightning: Package, tmp_path: Path) -> None:
    writer = SummaryWriter(tmp_path)
    model = lightning.model(manual=True)
    model.on_train_start = lambda: writer.watch(model, model.optimizers(), criterion=model.criterion, every=1)
    trainer = lightning.fit(model)
    writer.close()
    (run,) = recorded(tmp_path).values()
    assert recorded_steps(run) == list(range(trainer.global_step // 2))
    diagnosed(writer.findings(), "")


def test_plain_watch_works_in_fabric(lightning: Package, tmp_path: Path) -> None:
    fabric = importlib.import_module("lightning.fabric").Fabric(accelerator="cpu", devices=1)
    criterion = nn.CrossEntropyLoss()
    net = network()
    model, sgd = fabric.setup(net, optimizer(net))
    batches = fabric.setup_dataloaders(DataLoader(digits()[0], 64, shuffle=True))
    with SummaryWriter(tmp_path) as writer:
        writer.watch(model, sgd, criterion=criterion, every=1)
        for pixels, labels in batches:
            sgd.zero_grad()
            fabric.backward(criterion(model(pixels), labels))
            sgd.step()
    (run,) = recorded(tmp_path).values()
    history = run.watches[schema.DEFAULT_WATCH]
    assert len(history) == len(batches)
    assert history.subjects(schema.UPDATE) == tuple(name for name, _ in net.named_parameters())
    assert "2" in history.subjects(schema.ACTIVATION)
    diagnosed(writer.findings(), "")


def test_missing_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning.pytorch.callbacks", None)
    monkeypatch.delitem(sys.modules, "tb_nnhealth.integrations.lightning", raising=False)
    with pytest.raises(ImportError, match=r"needs lightning.*pip install 'tb-nnhealth\[lightning\]'"):
        importlib.import_module("tb_nnhealth.integrations.lightning")


def test_two_processes_share_one_run(tmp_path: Path) -> None:
    script = Path(__file__).with_name("lightning_ranks.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (run,) = recorded(tmp_path).values()
    assert recorded_steps(run) == list(range(22)), "two epochs of 22 batches, half of them on each process"
    assert run.watches[schema.DEFAULT_WATCH].subjects(schema.RANK_BATCH)
