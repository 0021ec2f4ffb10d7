"""Watches without end: thousands of cycles and steps leave no object behind, and warnings as errors change nothing."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import textwrap
import weakref
from collections import Counter
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules import module

from tb_nnhealth import SummaryWriter


def _objects() -> Counter[str]:
    gc.collect()
    return Counter(type(thing).__name__ for thing in gc.get_objects())


def _train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(2, 2)).sum().backward()
        optimizer.step()


def test_a_thousand_watches_and_each_model_is_collected(tmp_path: Path) -> None:
    growth: Counter[str] = Counter()
    with SummaryWriter(tmp_path) as writer:
        for cycle in range(1000):
            if cycle == 100:  # what torch and the writer make once is there
                gc.collect()
                gc.freeze()
            model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            writer.watch(model, optimizer, every=1)
            _train(model, optimizer, 1)
            writer.unwatch()
            assert not optimizer._optimizer_step_pre_hooks
            assert not optimizer._optimizer_step_post_hooks
            assert not model._forward_pre_hooks
            gone = [weakref.ref(model), weakref.ref(optimizer)]
            del model, optimizer
            if cycle >= 100:
                gc.collect()
                assert [reference() for reference in gone] == [None, None]
        growth = _objects()  # but for what was frozen
        gc.unfreeze()
    assert not module._has_any_global_hook()
    assert not module._global_module_registration_hooks
    assert {name: count for name, count in growth.items() if count >= 800} == {}


def test_steps_leave_no_objects_behind(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    with SummaryWriter(tmp_path) as writer:
        writer.watch(model, optimizer, every=1)
        _train(model, optimizer, 200)
        writer.findings()  # which loads the rules, if the judge has not asked them yet
        before = _objects()
        _train(model, optimizer, 600)
        writer.flush()
        growth = _objects() - before
    assert {name: count for name, count in growth.items() if count >= 300} == {}


def test_warnings_as_errors(tmp_path: Path) -> None:
    """Of all that a training and its readers do, from import to close, nothing of ours warns."""
    program = """
        import sys, warnings
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # what others warn of as they are imported
            import torch, tensorboard
        from tb_nnhealth import SummaryWriter
        from tb_nnhealth.cli.main import main
        from torch import nn
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
        optimizer, criterion = torch.optim.Adam(model.parameters(), 1e-2), torch.nn.CrossEntropyLoss()
        with SummaryWriter(sys.argv[1]) as writer:
            writer.watch(model, optimizer, criterion=criterion)
            for step in range(60):
                optimizer.zero_grad()
                loss = criterion(model(torch.randn(16, 4)), torch.randint(0, 3, (16,)))
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                writer.add_scalar("loss/train", loss, step)
                if step % 20 == 19:
                    model.eval()
                    with torch.no_grad():
                        loss = criterion(model(torch.randn(16, 4)), torch.zeros(16).long())
                    writer.add_scalar("loss/val", loss, step)
                    model.train()
            writer.findings()
            writer.unwatch()
        main(["inspect", sys.argv[1], "--format", "json"])
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program), str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    assert 40 < run["steps"] <= 59  # a slow machine may leave out the last ones
    assert run["capture"]["errors"] == []
