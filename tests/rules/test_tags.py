from __future__ import annotations

import pytest

from tb_nnhealth.history import Run, Series
from tb_nnhealth.phases import parts
from tb_nnhealth.rules.evidence.tags import main_loss, moving_target, role, series_of
from tb_nnhealth.rules.loss.loss_terms import loss_terms
from tb_nnhealth.rules.synthetic import Network


def series(points: int, value: float = 1.0) -> Series:
    return Series([(i, float(i), value) for i in range(points)])


def run(**points: int) -> Run:
    return Run("exp", scalars={tag: series(n) for tag, n in points.items()})


@pytest.mark.parametrize(
    ("tag", "metric", "phase"),
    [
        ("loss", "loss", None),
        ("Loss", "loss", None),
        ("loss/train", "loss", "train"),
        ("Loss/Train", "loss", "train"),
        ("train_loss", "loss", "train"),
        ("trainLoss", "loss", "train"),
        ("train.loss", "loss", "train"),
        ("training/loss", "loss", "train"),
        ("train_loss_step", "loss", "train"),
        ("val/loss", "loss", "val"),
        ("ValLoss", "loss", "val"),
        ("eval/loss", "loss", "val"),
        ("validation/loss", "loss", "val"),
        ("loss-valid", "loss", "val"),
        ("test_loss", "loss", "val"),
        ("epoch_loss", "loss", None),
        ("CrossEntropyLoss/train", "loss", "train"),
        ("BCEWithLogitsLoss", "loss", None),
        ("resnet18/train/loss", "loss", "train"),
        ("fold_0/val_loss", "loss", "val"),
        ("loss/lr=0.01/train", "loss", "train"),
        ("train_eval/loss", "loss", "train"),
        ("Loss/valid_acc", "accuracy", "val"),
        ("accuracy/train", "accuracy", "train"),
        ("top5_accuracy", "accuracy", None),
        ("acc1", "accuracy", None),
        ("test/error_rate", "error", "val"),
        ("val_perplexity", "perplexity", "val"),
        ("lr", "lr", None),
        ("lr-AdamW/pg1", "lr", None),
        ("train/learning_rate", "lr", "train"),
        ("LearningRate", "lr", None),
    ],
)
def test_roles(tag: str, metric: str, phase: str | None):
    assert (role(tag).metric, role(tag).phase, role(tag).term) == (metric, phase, "")


@pytest.mark.parametrize(
    "tag",
    [
        "lossless", "glossary", "hp_metric", "epoch", "train/train_steps_per_second", "train/total_flos",
        "train/grad_norm", "loss_scale", "loss/weight", "best_val_loss", "loss_std", "train/value_loss",
        "train/policy_gradient_loss", "train/entropy_loss", "loss/G", "d_loss", "Loss/generator", "critic/loss",
    ],
)  # fmt: skip
def test_what_is_no_loss_to_be_judged(tag: str):
    assert role(tag).metric is None


def test_a_term_of_a_loss_says_which():
    assert role("train/box_loss").term == "box"
    assert role("loss/kl").term == "kl"
    assert role("train/mse").term == "mse"
    assert role("val_cost").metric == "loss"
    assert role("cost_in_dollars").metric is None


def test_measures_of_one_error_are_no_terms_of_a_sum() -> None:
    logged = run(**{"MAE/train": 30, "MSE/train": 30, "RMSE/val": 30, "MSE/val": 30})
    train, val = main_loss(logged, "train"), main_loss(logged, "val")
    assert train is not None
    assert val is not None
    assert (train[0], val[0]) == ("MSE/train", "MSE/val")
    assert loss_terms(logged) is None
    assert main_loss(run(**{"mse": 30, "loss/kl": 30}), "train") is None


@pytest.mark.parametrize(
    ("directory", "phase"),
    [
        ("exp/train", "train"), ("exp/validation", "val"), ("runs/loss_train", "train"), ("loss_val", "val"),
        ("test", None), ("runs/test", None), ("train_2024", None), ("my_eval_idea", None), ("", None),
    ],
)  # fmt: skip
def test_the_directory_may_be_the_phase(directory: str, phase: str | None):
    assert role("epoch_loss", directory).phase == phase


@pytest.mark.parametrize(
    ("tag", "directory", "expected"),
    [
        ("loss", "exp/loss_val", ("loss", "val", "")), ("losses", "losses_vq", ("loss", None, "vq")),
        ("train/losses", "train_losses_box", ("loss", "train", "box")), ("loss", "loss_G", (None, None, "")),
        ("smape", "exp/smape_val", ("loss", "val", "smape")), ("loss", "exp/kl", ("loss", None, "")),
    ],
)  # fmt: skip
def test_add_scalars_names_the_directory_after_tag_and_line(tag: str, directory: str, expected: tuple[object, ...]):
    found = role(tag, directory)
    assert (found.metric, found.phase, found.term) == expected


def test_the_tag_outranks_the_directory():
    assert role("val_loss", "exp/train").phase == "val"


def test_words_are_parted_at_separators_and_changes_of_case():
    assert parts("trainNLLLoss_2/cross_entropy") == ("train", "nll", "loss", "2", "crossentropy")


def test_the_loss_with_the_most_points_is_the_main_one():
    found = main_loss(Run("r", scalars={"train/train_loss": series(1), "train/loss": series(90)}), "train")
    assert found is not None
    assert found[0] == "train/loss"


def test_a_loss_without_phase_is_that_of_training():
    logged = run(loss=30, val_loss=30)
    train, val = main_loss(logged, "train"), main_loss(logged, "val")
    assert train is not None
    assert val is not None
    assert (train[0], val[0]) == ("loss", "val_loss")


def test_a_term_counts_only_where_it_is_the_only_loss():
    assert main_loss(run(box_loss=30, cls_loss=30), "train") is None
    only = main_loss(run(box_loss=30), "train")
    assert only is not None
    assert only[0] == "box_loss"
    whole = main_loss(run(box_loss=90, loss=30), "train")
    assert whole is not None
    assert whole[0] == "loss"


def test_validation_comes_before_test():
    found = main_loss(run(test_loss=30, val_loss=30), "val")
    assert found is not None
    assert found[0] == "val_loss"


def test_no_loss_is_none():
    assert main_loss(run(accuracy=30), "train") is None
    assert main_loss(Run("r", scalars={"loss": Series()}), "train") is None


def test_series_of_a_metric_and_phase():
    logged = run(lr=3, val_acc=4, train_acc=5)
    assert [tag for tag, _ in series_of(logged, "accuracy")] == ["val_acc", "train_acc"]
    assert [tag for tag, _ in series_of(logged, "accuracy", "val")] == ["val_acc"]


@pytest.mark.parametrize(
    ("logged", "told"),
    [
        (run(loss_D=9, loss_G=9), "adversarial"),
        (run(errD=9, errG=9), "adversarial"),
        (Run("r", scalars={"loss/discriminator": series(9)}), "adversarial"),
        (Run("r", scalars={"train/loss": series(9), "rollout/ep_rew_mean": series(9)}), "reinforcement"),
        (Run("r", scalars={"losses": series(9), "success_rate": series(9)}), "reinforcement"),
        (Run("r", scalars={"train/policy_gradient_loss": series(9)}), "reinforcement"),
        (Run("r", watches={"G": Network(steps=3).run().watches["model"], "D": None}), "adversarial"),  # type: ignore[dict-item]
    ],
)
def test_losses_without_a_level_of_their_own(logged: Run, told: str):
    assert told in moving_target(logged)


@pytest.mark.parametrize("tag", ["loss/train", "grad/d", "group", "val_loss", "layers.g.loss"])
def test_ordinary_losses_have_one(tag: str):
    assert moving_target(Run("r", scalars={tag: series(9)})) == ""
