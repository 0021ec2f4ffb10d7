"""The benchmark on a GPU, as far as it goes without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, gpu_check
from tb_nnhealth.record.reduce_gather import Gathered

CPU = torch.device("cpu")


def test_without_a_gpu_it_says_so_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--json", str(tmp_path / "gpu.json")]) == gpu.NOT_RUN
    assert capsys.readouterr().out == "bench-gpu: not run, since PyTorch finds no GPU here.\n"
    assert not list(tmp_path.iterdir())


def test_a_wrong_statistic_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu_check.disagreements(CPU, 20) == []
    take, calls = Gathered.take, [0]

    def one_wrong(self: Gathered, tensor: Any, **how: Any) -> Any:
        calls[0] += 1
        return take(self, tensor * 1.001 if calls[0] == 3 else tensor, **how)

    monkeypatch.setattr(Gathered, "take", one_wrong)
    wrong = gpu_check.disagreements(CPU, 20)
    assert wrong
    assert all(line.startswith("tensor 1, ") for line in wrong)


def test_its_table_and_results_can_be_written() -> None:
    trained = gpu.training(gpu.SIZES["tiny"], "float32", CPU)
    found = {
        "machine": {}, "triton": False, "size": "tiny", "precision": "float32", "parameters": 1, "tokens": 64,
        "tensors_compared": 0, "wrong": [], **gpu._measured(trained, CPU, 2, 0.01),
    }  # fmt: skip
    assert found["errors"] == []
    assert json.loads(json.dumps(found))["added"].keys() == {"A/A", "watch, defaults", "watch, every=1"}
    assert "| watch, every=1 |" in gpu._table(found)
