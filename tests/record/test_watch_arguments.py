"""What ``watch`` refuses, with one clear sentence, and what names it gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from memory_recorder import MemoryRecorder
from torch import nn

from tb_nnhealth import SummaryWriter, schema
from tb_nnhealth.record.faults import ShimWarning
from tb_nnhealth.record.layout_names import Selection, clean_name
from tb_nnhealth.record.recorder import Recorder
from tb_nnhealth.record.watch import Watch


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.ReLU()))


MODEL = net()
OPTIMIZER = torch.optim.SGD(MODEL.parameters(), 0.1)


class Stepper:
    param_groups: tuple[Any, ...] = ()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("model",), {}, TypeError, r"expects a torch.nn.Module as its model, found str"),
        ((lambda x: x,), {}, TypeError, r"expects a torch.nn.Module as its model, found function"),
        ((nn.ReLU(),), {}, ValueError, r"ReLU has no parameters"),
        ((MODEL, OPTIMIZER), {"scaler": 1024.0}, TypeError, r"scaler= expects a torch.amp.GradScaler, found float"),
        ((MODEL, Stepper()), {}, ValueError, r"expects a torch.optim.Optimizer .* found Stepper"),
        ((MODEL, "adam"), {}, ValueError, r"found str"),
        ((MODEL, OPTIMIZER), {"criterion": nn.functional.mse_loss}, TypeError, r"expects a loss module .* observe\("),
        ((MODEL, OPTIMIZER), {"every": 0}, ValueError, r"every= expects 1 or more, found 0"),
        ((MODEL, OPTIMIZER), {"every": 1.5}, TypeError, r"every= expects a number of optimizer steps, found 1.5"),
        ((MODEL, OPTIMIZER), {"every": True}, TypeError, r"every="),
        ((MODEL, OPTIMIZER), {"budget": 0}, ValueError, r"budget= expects .* found 0"),
        ((MODEL, OPTIMIZER), {"budget": float("nan")}, ValueError, r"budget="),
        ((MODEL, OPTIMIZER), {"budget": "2%"}, TypeError, r"budget= .* found '2%'"),
        ((MODEL, OPTIMIZER), {"step": 7}, TypeError, r"step= expects a callable"),
        ((MODEL, OPTIMIZER), {"include": [3]}, TypeError, r"include= expects glob patterns"),
        ((MODEL, OPTIMIZER), {"include": 3}, TypeError, r"include= expects glob patterns .* found 3"),
        ((MODEL, OPTIMIZER), {"exclude": "*"}, ValueError, r"include= and exclude= leave nothing of Sequential"),
        ((MODEL, OPTIMIZER), {"include": "encoder.*"}, ValueError, r"its modules are 0, 1, 1.0, 1.1"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_touched(
    arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    recorder = MemoryRecorder()
    with pytest.raises(error, match=message):
        Watch(recorder, *arguments, **options)
    assert not recorder.streams
    assert not MODEL._forward_pre_hooks
    assert not OPTIMIZER._optimizer_step_pre_hooks
    assert not torch.nn.modules.module._has_any_global_hook()


def test_numbers_of_numpy_are_numbers() -> None:
    recorder = MemoryRecorder()
    Watch(recorder, MODEL, OPTIMIZER, every=np.int64(2)).remove()
    Watch(recorder, MODEL, OPTIMIZER, name="b", budget=np.float32(0.05)).remove()
    budget = recorder.streams["b"].capture.budget
    assert type(budget) is float


def test_parameters_that_are_a_list(tmp_path: Any) -> None:
    class Listed(nn.Sequential):
        def parameters(self, recurse: bool = True) -> Any:
            return list(super().parameters(recurse))

    model = Listed(nn.Linear(3, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recorder = MemoryRecorder()
    watch = Watch(recorder, model, optimizer, every=1)
    model(torch.randn(5, 3)).square().mean().backward()
    optimizer.step()
    watch.remove()
    assert {row.subject for row in recorder.streams["model"].layouts[-1].rows if row.kind == schema.WEIGHT} == {
        "0.weight", "0.bias",
    }  # fmt: skip


def test_optimizer_of_another_model_is_warned_of_and_found(tmp_path: Any) -> None:
    model, optimizer = net(), torch.optim.SGD(net().parameters(), 0.1)
    with SummaryWriter(tmp_path) as writer:
        with pytest.warns(ShimWarning, match="SGD holds no parameter of Sequential, so its steps do not train it"):
            writer.watch(model, optimizer, every=1)
        for _ in range(10):
            model(torch.randn(5, 3)).square().mean().backward()
            optimizer.step()
        found = writer.findings()
        writer.unwatch()
    assert {finding.rule for finding in found if finding.severity == "critical"} == {"optimizer-misses-parameters"}
    assert found[0].evidence.more["foreign_parameters"] == 4


def test_models_without_a_name_are_numbered(tmp_path: Any) -> None:
    """As in a loop over folds that all write into one run."""
    with SummaryWriter(tmp_path) as writer:
        models = [net() for _ in range(4)]
        watches = [writer.watch(model, torch.optim.SGD(model.parameters(), 0.1)) for model in models[:3]]
        assert [watch.name for watch in watches] == ["model", "model-2", "model-3"]
        watches[1].remove()
        assert writer.watch(models[3]).name == "model-2"
        with pytest.raises(ValueError, match="already a watch named 'model'"):
            writer.watch(models[0])


def test_name_in_use_is_refused_and_free_again_once_removed(tmp_path: Any) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Recorder(tmp_path) as recorder:
        first = Watch(recorder, model, optimizer)
        with pytest.raises(ValueError, match="already a watch named 'model'"):
            Watch(recorder, model, optimizer)
        assert len(model._forward_pre_hooks) == 1
        Watch(recorder, model, optimizer, name="other").remove()
        first.remove()
        again = Watch(recorder, model, optimizer)
        model(torch.ones(2, 3)).sum().backward()
        optimizer.step()
        assert again.findings() == []
        again.remove()


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("_orig_mod.features.0.weight", "features.0.weight"),
        ("module.features.0", "features.0"),
        ("module._orig_mod.head", "head"),
        ("_fsdp_wrapped_module.layers.3._fsdp_wrapped_module.fc", "layers.3.fc"),
        ("block._checkpoint_wrapped_module.0", "block.0"),
        ("encoder.module.weight", "encoder.module.weight"),
        ("_orig_mod", ""),
    ],
)
def test_names_lose_what_wrappers_put_in(raw: str, clean: str) -> None:
    assert clean_name(raw) == clean


def test_selection_by_globs() -> None:
    selection = Selection(("encoder.*", "head"), ("*.norm*",))
    assert "encoder.0.conv" in selection
    assert "head.weight" in selection
    assert "encoder.0.norm1" not in selection
    assert "encoder.0.norm1.weight" not in selection
    assert "decoder.0" not in selection


def test_only_what_was_selected_is_recorded() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recorder = MemoryRecorder()
    Watch(recorder, model, optimizer, every=1, include=["0", "2"], exclude="2")
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    stream = recorder.stream
    assert stream.subjects(schema.ACTIVATION) == ["0"]
    assert stream.subjects(schema.WEIGHT) == ["0.weight", "0.bias"]
    assert [module.name for module in stream.layouts[-1].modules] == ["0"]


def test_parallel_and_compiled_wrappers_do_not_change_names() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    parallel = nn.DataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recorder = MemoryRecorder()
    Watch(recorder, parallel, optimizer, every=1)
    parallel(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    assert recorder.stream.subjects(schema.ACTIVATION) == ["0", "1"]
    assert recorder.stream.subjects(schema.WEIGHT) == ["0.weight", "0.bias"]
