"""Ways in which a tool of this kind has crashed a training, changed it, or lied about it."""

from __future__ import annotations

import copy
import gc
import io
import math
import pickle
import subprocess
import sys
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from memory_recorder import MemoryRecorder, MemoryStream
from torch import nn
from torch.nn.modules import module as torch_module
from torch.utils.checkpoint import checkpoint

from tb_nnhealth import schema
from tb_nnhealth.record import hooks, outputs
from tb_nnhealth.record.watch import Watch


@pytest.fixture(autouse=True)
def _no_hook_is_left() -> Iterator[None]:
    """A model that is collected takes its hooks along; one that waits for it would meddle with the next test."""
    yield
    gc.collect()
    assert not torch_module._has_any_global_hook()


def watched(model: nn.Module, optimizer: Any = None, **options: Any) -> tuple[Watch, MemoryStream]:
    recorder = MemoryRecorder()
    watch = Watch(recorder, model, optimizer, **{"every": 1, **options})
    return watch, recorder.stream


def small() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    return model, torch.optim.SGD(model.parameters(), 0.1)


def step(model: nn.Module, optimizer: Any, x: torch.Tensor | None = None) -> None:
    optimizer.zero_grad()
    model(torch.randn(5, 3) if x is None else x).square().mean().backward()
    optimizer.step()


# --- copies, pickles, life ------------------------------------------------------------------------------------------


def test_copy_of_a_watched_model_does_not_speak_for_it() -> None:
    model, optimizer = small()
    _, stream = watched(model, optimizer)
    average = torch.optim.swa_utils.AveragedModel(model)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin(torch.ones(1, 3)), average(torch.ones(1, 3)), copy.copy(model[0])(torch.ones(1, 3))
    twin(torch.full((1, 3), 100.0)).sum().backward()
    step(model, optimizer)
    assert stream.errors == []
    assert stream.value(schema.EVALUATION, "train", schema.MEAN) == 0
    assert stream.value(schema.INPUT, "", schema.MAX) < 10


def test_pickled_model_loads_and_runs_without_this_package(tmp_path) -> None:
    model, optimizer = small()
    watched(model, optimizer)
    torch.save(model, tmp_path / "model.pt")
    program = f"""
import sys
sys.modules["tb_nnhealth"] = None
import torch
print(torch.load({str(tmp_path / "model.pt")!r}, weights_only=False)(torch.ones(1, 3)).tolist())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert eval(done.stdout) == model(torch.ones(1, 3)).tolist()


def test_state_dict_optimizer_and_outputs_pickle_as_ever() -> None:
    model, optimizer = small()
    watched(model, optimizer)
    step(model, optimizer)
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    pickle.loads(pickle.dumps(optimizer))
    copy.deepcopy(optimizer).step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.save(model(torch.ones(1, 3)), io.BytesIO())


def test_model_is_collected_and_takes_the_hooks_with_it() -> None:
    model, optimizer = small()
    watch, _ = watched(model, optimizer)
    step(model, optimizer)
    reference = weakref.ref(model)
    assert torch_module._global_forward_hooks
    del model
    gc.collect()
    assert reference() is None
    assert not torch_module._global_forward_hooks
    assert not optimizer._optimizer_step_pre_hooks
    watch.remove()


def test_networks_bundled_for_the_call_are_watched_as_long_as_the_optimizer_lives() -> None:
    players = [nn.Linear(3, 2), nn.Linear(2, 1)]
    optimizer = torch.optim.SGD([p for player in players for p in player.parameters()], 0.1)
    bundle = nn.ModuleDict({"generator": players[0], "discriminator": players[1]})
    reference = weakref.ref(bundle)
    _, stream = watched(bundle, optimizer)
    del bundle
    gc.collect()
    assert reference() is not None
    players[1](players[0](torch.ones(4, 3))).sum().backward()
    optimizer.step()
    assert len(stream.records) == 1
    del optimizer
    gc.collect()
    assert reference() is None


def test_hooks_go_with_the_last_optimizer() -> None:
    model, optimizer = small()
    watched(model, optimizer)
    step(model, optimizer)
    del optimizer
    gc.collect()
    assert not torch_module._global_forward_hooks
    assert not model._forward_pre_hooks


def test_dropped_handle_goes_on_watching() -> None:
    model, optimizer = small()
    stream = watched(model, optimizer)[1]
    gc.collect()
    step(model, optimizer)
    assert stream.steps == [0]


def test_removed_watch_leaves_nothing() -> None:
    model, optimizer = small()
    watch, stream = watched(model, optimizer, criterion=nn.MSELoss())
    watch.remove()
    step(model, optimizer)
    assert not stream.records
    assert stream.closed
    assert not model._forward_pre_hooks
    assert not model._forward_pre_hooks_with_kwargs
    assert not torch_module._has_any_global_hook()
    assert not optimizer._optimizer_step_post_hooks
    watch.remove()


def test_paused_watch_lets_the_model_be_scripted() -> None:
    model, optimizer = small()
    watch, stream = watched(model, optimizer)
    with watch.paused():
        scripted = torch.jit.script(model)
        step(model, optimizer)
    assert not stream.records
    step(model, optimizer)
    assert len(stream.records) == 1
    assert scripted(torch.ones(1, 3)).shape == (1, 2)


def test_traced_and_exported_models_hold_nothing_of_ours() -> None:
    model, optimizer = small()
    watched(model, optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(model, torch.ones(1, 3))
    plain = torch.jit.trace(nn.Sequential(*copy.deepcopy(model)), torch.ones(1, 3))
    assert len(list(traced.inlined_graph.nodes())) == len(list(plain.inlined_graph.nodes()))
    program = torch.export.export(model, (torch.ones(2, 3),))
    assert sum(node.op == "call_function" for node in program.graph.nodes) == 3


def test_scripted_module_within_the_model_is_one_layer() -> None:
    model = nn.Sequential(torch.jit.script(nn.Sequential(nn.Linear(3, 4), nn.ReLU())), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    _, stream = watched(model, optimizer)
    step(model, optimizer)
    assert stream.errors == []
    assert stream.subjects(schema.ACTIVATION) == ["0", "1"]


# --- what must not reach the training -------------------------------------------------------------------------------


def test_error_in_a_probe_is_told_once_and_the_probe_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer = small()
    _, stream = watched(model, optimizer)

    def broken(*args: Any, **kwargs: Any) -> None:
        raise ValueError("out of order")

    monkeypatch.setattr(hooks, "tensors_in", broken)
    for _ in range(6):
        step(model, optimizer)
    told = [error for error in stream.errors if error.startswith("output of 0:")]
    assert told == ["output of 0: ValueError: out of order"]
    assert len(stream.records) == 6
    assert stream.value(schema.WEIGHT, "0.weight", schema.RMS) > 0


def test_stream_that_raises_does_not_stop_the_training() -> None:
    model, optimizer = small()
    _, stream = watched(model, optimizer)

    def broken(*args: Any, **options: Any) -> None:
        raise OSError("no space left on device")

    stream.stats = broken  # type: ignore[method-assign]
    stream.error = broken  # type: ignore[method-assign]
    for _ in range(3):
        step(model, optimizer)


def test_step_callable_that_fails_is_told_once_and_replaced_by_a_count() -> None:
    model, optimizer = small()
    for given in (lambda: "7", lambda: 1 / 0, lambda: True, lambda: -1, lambda: 2**63):
        _, stream = watched(model, optimizer, step=given)
        step(model, optimizer), step(model, optimizer)
        assert stream.steps == [0, 1]
        assert len(stream.errors) == 1


def test_step_callable_numbers_the_records() -> None:
    model, optimizer = small()
    counter = iter(range(100, 200, 5))
    _, stream = watched(model, optimizer, step=lambda: next(counter))
    step(model, optimizer), step(model, optimizer)
    assert stream.steps == [100, 105]


def test_every_counts_steps_of_the_optimizer_alone() -> None:
    model, optimizer = small()
    _, stream = watched(model, optimizer, every=4)
    for _ in range(9):
        model(torch.randn(2, 3)).sum().backward()
        model(torch.randn(2, 3)).sum().backward()
        optimizer.step()
    assert stream.steps == [0, 4, 8]
    assert stream.capture.every == 4


def test_closed_writer_costs_nothing_and_may_come_back() -> None:
    model, optimizer = small()
    _, stream = watched(model, optimizer)
    step(model, optimizer)
    stream.active = False
    step(model, optimizer)
    step(model, optimizer)
    assert not torch_module._global_forward_hooks
    stream.active = True
    step(model, optimizer), step(model, optimizer)
    assert stream.steps[0] == 0
    assert stream.steps[-1] == 4


# --- mixed precision ------------------------------------------------------------------------------------------------


class GradScalerOfAFusedOptimizer:
    """Sets on the optimizer what torch's scaler sets for fused ones: it unscales by itself."""

    def __init__(self, optimizer: Any, scale: float, found_inf: float) -> None:
        optimizer.grad_scale, optimizer.found_inf = torch.tensor(scale), torch.tensor(found_inf)


@pytest.mark.parametrize("counted_step", [0, 1])
def test_scaled_gradients_are_told_unscaled(counted_step: int) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.0, fused=True)
    _, stream = watched(model, optimizer)
    for _ in range(counted_step + 1):
        optimizer.zero_grad()
        model(torch.ones(5, 3)).sum().backward()
        true = model.weight.grad.clone()
        model.weight.grad.mul_(1024), model.bias.grad.mul_(1024)
        GradScalerOfAFusedOptimizer(optimizer, 1024.0, 0.0)
        optimizer.step()
    assert stream.value(schema.GRADIENT, "weight", schema.RMS) == pytest.approx(true.square().mean().sqrt().item())
    assert stream.value(schema.UPDATE, "weight", schema.RMS) == 0.0


def test_step_that_a_fused_optimizer_skips_has_no_update() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, fused=True)
    _, stream = watched(model, optimizer)
    model(torch.ones(5, 3)).sum().backward()
    model.weight.grad.fill_(math.inf)
    GradScalerOfAFusedOptimizer(optimizer, 1024.0, 1.0)
    optimizer.step()
    assert math.isnan(stream.value(schema.UPDATE, "weight", schema.RMS))
    assert stream.value(schema.GRADIENT, "weight", schema.INF_COUNT) == 6
    assert stream.value(schema.WEIGHT, "weight", schema.RMS) > 0


def test_scaler_that_unscales_before_the_step() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    _, stream = watched(model, optimizer)
    scaler.scale(model(torch.ones(5, 3)).sum()).backward()
    scaler.step(optimizer)
    assert stream.value(schema.GRADIENT, "weight", schema.MEAN) == pytest.approx(5.0)


# --- forwards -------------------------------------------------------------------------------------------------------


def test_evaluation_is_not_recorded() -> None:
    model, optimizer = small()
    _, stream = watched(model, optimizer)
    far = torch.full((2, 3), 1e6)
    with torch.no_grad():
        model(far)
    with torch.inference_mode():
        model(far)
    model.eval()
    model(far)
    model.train()
    step(model, optimizer, torch.ones(1, 3))
    assert stream.value(schema.INPUT, "", schema.MAX) == 1.0
    assert stream.value(schema.ACTIVATION, "0", schema.MAX) < 100


def test_training_in_evaluation_mode_is_recorded() -> None:
    model, optimizer = small()
    model.eval()
    _, stream = watched(model, optimizer, criterion=nn.MSELoss())
    step(model, optimizer, torch.ones(1, 3))
    assert stream.value(schema.INPUT, "", schema.MAX) == 1.0
    assert stream.value(schema.ACTIVATION, "0", schema.RMS) > 0


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.stem, self.block, self.reentrant = nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 4), nn.Tanh()), reentrant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(self.block, self.stem(x), use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputation_is_not_a_second_call(reentrant: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Checkpointed(reentrant)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    _, stream = watched(model, optimizer)
    calls: dict[str, int] = {}
    gather = hooks.Activations._gather

    def counting(self: Any, gathered: Any, *rest: Any) -> None:
        calls[gathered.entry.name] = calls.get(gathered.entry.name, 0) + 1
        gather(self, gathered, *rest)

    monkeypatch.setattr(hooks.Activations, "_gather", counting)
    step(model, optimizer)
    assert calls == {"stem": 1, "block.0": 1, "block.1": 1}
    assert sorted(stream.subjects(schema.ACTIVATION_GRADIENT)) == ["block.0", "block.1", "stem"]


def test_checkpointed_model_is_no_evaluation() -> None:
    model, optimizer = small()
    _, stream = watched(model, optimizer)
    for _ in range(2):
        x = torch.randn(2, 3, requires_grad=True)
        checkpoint(model, x, use_reentrant=True).sum().backward()
        optimizer.step()
    assert stream.value(schema.EVALUATION, "train", schema.MEAN) == 0


def test_encoder_keeps_its_fused_path_in_evaluation() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    for model in (nn.TransformerEncoder(layer, 2), layer, nn.Sequential(nn.TransformerEncoder(layer, 1))):
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        watched(model, optimizer)
        model.eval()
        with torch.no_grad(), torch.profiler.profile() as profile:
            model(torch.randn(2, 3, 8))
        assert any("transformer_encoder_layer_fwd" in event.name for event in profile.events())


def test_evaluations_that_cannot_be_seen_are_not_told() -> None:
    """A hook on the layer itself would turn its fused path off, so none is there to count."""
    model = nn.TransformerEncoderLayer(4, 1, 8, batch_first=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    _, stream = watched(model, optimizer)
    step(model, optimizer, torch.ones(2, 3, 4))
    assert stream.subjects(schema.EVALUATION) == []
    assert stream.subjects(schema.INPUT)[0] == ""


def test_output_without_a_gradient_and_output_of_an_unwilling_class() -> None:
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            ctx.set_materialize_grads(False)
            return x * 2, x + 1

        @staticmethod
        def backward(ctx: Any, doubled: Any, added: Any) -> Any:
            assert added is None
            return 2 * doubled

    class Both(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return Twice.apply(x)

    class First(nn.Module):
        def forward(self, both: Any) -> torch.Tensor:
            return both[0]

    class Shut:
        def __init__(self, inside: torch.Tensor) -> None:
            self.inside = inside

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(f"there is no {name}")

    class Model(nn.Sequential):
        def forward(self, x: torch.Tensor) -> Any:
            return Shut(super().forward(x))

    model = Model(nn.Linear(2, 2), Both(), First(), nn.Linear(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    _, stream = watched(model, optimizer)
    model(torch.ones(3, 2)).inside.square().mean().backward()
    optimizer.step()
    assert stream.errors == []
    assert "0.weight" in stream.subjects(schema.GRADIENT)


def test_outputs_of_every_kind_are_searched_for_tensors() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> Any:
            out = self.linear(x)
            recursive: list[Any] = [out, None, "text", 3]
            recursive.append(recursive)
            return {"a": recursive, "many": [out] * 20}

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Loop()
            self.attention = nn.MultiheadAttention(2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = self.inner(x)["many"][0]
            return self.attention(out, out, out)[0]

    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    _, stream = watched(model, optimizer)
    step(model, optimizer, torch.ones(3, 2))
    assert stream.errors == []
    assert set(stream.subjects(schema.ACTIVATION)) == {"inner.linear", "attention"}
    assert [m.name for m in stream.layouts[-1].modules] == ["inner.linear", "attention"]


def test_container_that_never_calls_its_children_is_one_layer() -> None:
    class Opaque(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.inner.weight.T

    model = nn.Sequential(Opaque(), nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    _, stream = watched(model, optimizer)
    step(model, optimizer)
    assert stream.subjects(schema.ACTIVATION) == ["0", "1"]
    assert stream.module("0").called


def test_model_whose_own_call_is_never_made() -> None:
    class Lightning(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(3, 2), nn.ReLU())

        def training_step(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x).sum()

    model = Lightning()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    _, stream = watched(model, optimizer)

    def closure() -> torch.Tensor:
        loss = model.training_step(torch.full((4, 3), 2.0))
        optimizer.zero_grad()
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure=closure)
    assert stream.value(schema.INPUT, "", schema.MEAN) == 2.0
    assert stream.layouts[-1].batch_size == 4
    assert stream.value(schema.GRADIENT, "net.0.weight", schema.RMS) == pytest.approx(
        model.net[0].weight.grad.square().mean().sqrt().item()
    )


def test_very_many_calls_are_bounded() -> None:
    cell, head = nn.RNNCell(1, 1), nn.Linear(1, 1)
    model = nn.ModuleList([cell, head])
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    _, stream = watched(model, optimizer)
    state = torch.zeros(1, 1)
    for _ in range(outputs.CALLS + 50):
        state = cell(torch.ones(1, 1), state)
    head(state).sum().backward()
    optimizer.step()
    assert stream.histogram(schema.ACTIVATION, "0").sum() == outputs.CALLS


def test_modes_of_the_user_do_not_see_our_operations() -> None:
    """Selective checkpointing hands results back by the order of the calls it saw."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Seen(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.names: list[str] = []

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.names.append(str(func))
            return func(*args, **(kwargs or {}))

    def operations(watching: bool) -> list[str]:
        model, optimizer = small()
        if watching:
            watched(model, optimizer, criterion=criterion)
        with Seen() as seen:
            criterion(model(torch.ones(40_000, 3)), torch.zeros(40_000, 2)).backward()
            optimizer.step()
        return [name for name in seen.names if name != "profiler._record_function_exit._RecordFunction"]

    criterion = nn.MSELoss()
    assert operations(watching=True) == operations(watching=False)


# --- compiled -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["module", "in place", "part", "function"])
def test_compiled_code_is_neither_broken_nor_compiled_again_and_again(kind: str) -> None:
    from torch._dynamo.testing import CompileCounter
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    counter = CompileCounter()
    model, optimizer = small()
    call: Any = model
    if kind == "module":
        call = model = torch.compile(model, backend=counter, fullgraph=True)
    elif kind == "in place":
        model.compile(backend=counter, fullgraph=True)
    elif kind == "part":
        model[2] = torch.compile(model[2], backend=counter, fullgraph=True)
    _, stream = watched(model, optimizer, every=2)
    if kind == "function":
        call = torch.compile(lambda x: model(x), backend=counter, fullgraph=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="(?s).*global hooks")
        for _ in range(12):
            optimizer.zero_grad()
            call(torch.randn(5, 3)).sum().backward()
            optimizer.step()
    assert not counters["graph_break"]
    assert counter.frame_count <= (2 if kind == "function" else 1)
    assert len(stream.records) == 6
    assert stream.errors == []
    assert stream.value(schema.GRADIENT, "0.weight", schema.RMS) > 0
    assert stream.parameter("2.weight").name == "2.weight"


def test_compiled_model_still_tells_its_criterion() -> None:
    model, optimizer = small()
    criterion = nn.CrossEntropyLoss()
    fast = torch.compile(model, backend="eager")
    _, stream = watched(fast, optimizer, criterion=criterion)
    criterion(fast(torch.randn(5, 3)), torch.ones(5, dtype=torch.long)).backward()
    optimizer.step()
    assert stream.value(schema.TARGET, "", schema.MEAN) == 1.0
    assert stream.value(schema.LOSS, "", schema.MEAN) > 0
    assert stream.has(schema.INPUT, "")
    assert not any(module.called for module in stream.layouts[-1].modules)


# --- optimizers and structure ---------------------------------------------------------------------------------------


def test_subclass_that_undoes_the_step_of_its_base_has_no_update() -> None:
    class Restoring(torch.optim.Adam):
        def step(self, closure: Any = None) -> Any:  # type: ignore[override]
            kept = model[0].weight.detach().clone()
            result = super().step(closure)
            with torch.no_grad():
                model[0].weight.copy_(kept)
            if fails:
                raise RuntimeError("after the step")
            return result

    model, fails = small()[0], False
    torch.optim.Adam([nn.Parameter(torch.ones(1))])  # from here on torch runs hooks around Adam's own step as well
    optimizer = Restoring(model.parameters(), 0.1)
    _, stream = watched(model, optimizer)
    step(model, optimizer)
    assert stream.steps == [0]
    fails = True
    with pytest.raises(RuntimeError, match="after the step"):
        step(model, optimizer)
    fails = False
    step(model, optimizer)
    assert stream.steps == [0, 1]
    for record in range(2):
        assert stream.value(schema.UPDATE, "0.weight", schema.RMS, record) == 0.0
        assert stream.value(schema.UPDATE, "2.weight", schema.RMS, record) > 0.0


def test_wrapped_optimizer_is_unwrapped() -> None:
    class Accelerated(torch.optim.Optimizer):
        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            self.optimizer = optimizer

        @property
        def param_groups(self) -> Any:
            return self.optimizer.param_groups

        @param_groups.setter
        def param_groups(self, groups: Any) -> None:
            self.optimizer.param_groups = groups

        def step(self, closure: Any = None) -> None:
            self.optimizer.step(closure)

    model, optimizer = small()
    _, stream = watched(model, Accelerated(optimizer))
    step(model, optimizer)
    assert stream.steps == [0]


def test_several_optimizers_make_one_step() -> None:
    model, _ = small()
    first = torch.optim.SGD(model[0].parameters(), 0.1)
    second = torch.optim.Adam(model[2].parameters(), 0.2)
    _, stream = watched(model, (first, second))
    for _ in range(3):
        model(torch.randn(5, 3)).sum().backward()
        first.step(), second.step()
    assert stream.steps == [0, 1, 2]
    assert stream.subjects(schema.LEARNING_RATE) == ["0.0", "1.0"]
    assert {"0.weight", "2.weight"} <= set(stream.subjects(schema.UPDATE))
    first.step(), first.step(), second.step()
    assert stream.steps == [0, 1, 2, 3, 4]


def test_one_optimizer_for_each_parameter_in_the_backward_pass() -> None:
    model, _ = small()
    optimizers = {p: torch.optim.SGD([p], 0.1) for p in model.parameters()}
    _, stream = watched(model, list(optimizers.values()))

    def apply(parameter: nn.Parameter) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(apply)
    for _ in range(2):
        model(torch.randn(5, 3)).sum().backward()
    assert stream.steps == [0, 1]
    assert stream.value(schema.GRADIENT, "0.weight", schema.RMS) > 0
    assert stream.value(schema.UPDATE, "0.weight", schema.RMS) > 0
    assert stream.subjects(schema.ACTIVATION_GRADIENT) == ["0", "1", "2"]


def test_added_group_replaced_parameter_and_new_module_are_found() -> None:
    model, optimizer = small()
    _, stream = watched(model, optimizer)
    step(model, optimizer)
    rows = len(stream.layouts[-1].rows)
    model.append(nn.Linear(2, 2))
    optimizer.add_param_group({"params": list(model[3].parameters()), "lr": 0.01})
    model[0].weight = nn.Parameter(torch.ones(4, 3))
    optimizer.param_groups[0]["params"][0] = model[0].weight
    step(model, optimizer)
    assert stream.value(schema.WEIGHT, "0.weight", schema.MEAN) == 1.0
    assert stream.value(schema.UPDATE, "3.weight", schema.RMS) > 0
    assert stream.value(schema.ACTIVATION, "3", schema.RMS) > 0
    assert stream.value(schema.LEARNING_RATE, "0.1", schema.MEAN) == pytest.approx(0.01)
    assert len(stream.layouts[-1].rows) > rows
    assert stream.parameter("3.weight").group == 1
    assert stream.layouts[-1].rows[:rows] == stream.layouts[0].rows[:rows]


def test_lazy_modules_appear_when_they_have_parameters() -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    _, stream = watched(model, optimizer)
    step(model, optimizer)
    step(model, optimizer)
    assert stream.errors == []
    assert list(stream.parameter("0.weight").shape) == [4, 3]
    assert stream.module("0").type == "Linear"
    assert stream.value(schema.UPDATE, "2.weight", schema.RMS) > 0


def test_parametrized_weights_are_layers_of_the_module_that_owns_them() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)), nn.Linear(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    _, stream = watched(model, optimizer)
    step(model, optimizer)
    assert stream.subjects(schema.ACTIVATION) == ["0", "1"]
    assert stream.errors == []


def test_without_an_optimizer_a_step_is_a_backward_pass() -> None:
    model, _ = small()
    _, stream = watched(model, every=2)
    for _ in range(5):
        model(torch.randn(5, 3)).sum().backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.1 * p.grad
                p.grad = None
    assert len(stream.records) == 3
    assert stream.value(schema.GRADIENT, "0.weight", schema.RMS) > 0
    assert stream.value(schema.ACTIVATION, "0", schema.RMS) > 0
    assert stream.errors == []


def test_exception_in_the_optimizer_leaves_no_trace() -> None:
    model, optimizer = small()
    _, stream = watched(model, optimizer)
    model(torch.randn(2, 3)).sum().backward()
    optimizer.param_groups[0]["lr"] = "nonsense"
    with pytest.raises(TypeError):
        optimizer.step()
    with torch.no_grad():
        model[0].weight.fill_(5.0)
    optimizer.param_groups[0]["lr"] = 0.1
    step(model, optimizer)
    update, gradient = (stream.value(kind, "0.weight", schema.RMS) for kind in (schema.UPDATE, schema.GRADIENT))
    assert update == pytest.approx(0.1 * gradient, rel=1e-3)


def test_global_random_state_is_left_alone() -> None:
    model, optimizer = small()
    watched(model, optimizer)
    model(torch.ones(1, 3)).sum().backward()
    state = torch.get_rng_state()
    optimizer.step()
    assert torch.equal(state, torch.get_rng_state())


def test_default_device_and_dtype_of_the_user_do_not_matter() -> None:
    model, optimizer = small()
    _, stream = watched(model, optimizer, criterion=nn.MSELoss())
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            for _ in range(schema.SILENCE_WINDOW + 1):
                optimizer.zero_grad()
                model(torch.ones(2, 3, dtype=torch.float32, device="cpu")).sum().backward()
                optimizer.step()
    finally:
        torch.set_default_dtype(torch.float32)
    assert stream.errors == []
    assert stream.value(schema.ACTIVATION, "1", schema.SILENT_SHARE) >= 0
