"""Which runs hold the validation of which, told by their names."""

from __future__ import annotations

import pytest

from tb_nnhealth.phases import lines, validations


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        (["exp/train", "exp/validation"], {"exp/train": {"validation": "exp/validation"}}),
        (["train", "test", "val"], {"train": {"test": "test", "val": "val"}}),
        (["exp", "exp/loss_train", "exp/loss_val"], {"exp/loss_train": {"val": "exp/loss_val"}}),
        (
            ["loss_train", "acc_train", "loss_val", "acc_val"],
            {"loss_train": {"val": "loss_val"}, "acc_train": {"val": "acc_val"}},
        ),
        (["bert-2-train", "bert-2-dev", "bert-3-dev"], {"bert-2-train": {"dev": "bert-2-dev"}}),
        (["exp", "exp/eval"], {"exp": {"eval": "exp/eval"}}),
        ([".", "validation"], {".": {"validation": "validation"}}),
        (["exp", "exp/train", "exp/eval"], {"exp/train": {"eval": "exp/eval"}}),
    ],
)
def test_one_training_in_several_runs(runs: list[str], expected: dict[str, dict[str, str]]) -> None:
    assert validations(runs) == expected


@pytest.mark.parametrize(
    "runs",
    [
        [],
        ["train"],
        ["a/train", "b/validation"],
        ["exp/train", "exp/training", "exp/validation"],
        ["exp", "exp/test"],
        ["exp", "exp/loss_val"],
        ["val", "val/val"],
        ["lr_1_train", "lr_2_val"],
        ["train_and_val", "val"],
        ["latest", "evaluate_me"],
    ],
)
def test_runs_that_are_trainings_of_their_own(runs: list[str]) -> None:
    assert validations(runs) == {}


def test_what_may_be_a_line_of_the_run_above() -> None:
    runs = ["exp", "exp/loss_train", "exp/losses_kl", "exp/lr_0.1", "exp/train", "sweep/loss_val", "exp/a/loss_val"]
    assert lines(runs) == {"exp": ("exp/loss_train", "exp/losses_kl")}
    assert lines([".", "loss_val"]) == {".": ("loss_val",)}
