"""What flows into each module, read from the autograd graph and told in the layout."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
import torch
from memory_recorder import MemoryRecorder
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tb_nnhealth.messages import Joint, Layout, Module
from tb_nnhealth.record import graph_flow
from tb_nnhealth.record.watch import Watch
from tb_nnhealth.rules.evidence.flow import Flow


class Told(nn.Module):
    """A model of five layers whose forward is given."""

    def __init__(self, forward: Callable[[Any, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.told = forward
        self.a, self.b, self.c, self.d, self.e = (nn.Linear(4, 4) for _ in range(5))
        self.recurrent = nn.LSTM(4, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.told(self, x)


def layout_of(forward: Callable[[Any, torch.Tensor], torch.Tensor]) -> Any:
    """The layout after two measured steps."""
    recorder, model = MemoryRecorder(), Told(forward)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    watch = Watch(recorder, model, optimizer, every=1)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(6, 4)).square().mean().backward()
        optimizer.step()
    watch.remove()
    return recorder.stream.layouts[-1]


def several_times(m: Any, x: torch.Tensor) -> torch.Tensor:
    state = m.a(x)
    for _ in range(5):
        state = torch.tanh(m.b(state) + m.c(x))
    return m.d(state)


@pytest.mark.parametrize(
    ("forward", "apart"),
    [
        (lambda m, x: m.e(m.d(m.c(m.b(m.a(x))))), []),
        (lambda m, x: m.b(F.relu(m.a(x))).view(2, 12).exp().reshape(6, 4) + m.d(m.c(x)), ["ac", "ad", "bc", "bd"]),
        (lambda m, x: m.c(torch.cat([m.a(x), m.b(x)], 1)[:, 2:6]), ["ab"]),
        (lambda m, x: m.d((h := m.a(x)) + m.b(h) * m.c(h)), ["bc"]),
        (lambda m, x: m.b(m.a(x).detach()) + m.a(x), ["ab"]),
        (several_times, ["ac", "bc"]),
        (lambda m, x: m.b(m.recurrent(m.a(x)[:, None])[1][0][0]) + m.c(m.a(x)), ["bc", "cr"]),
        (lambda m, x: m.b(checkpoint(m.a, x, use_reentrant=False)) + m.c(x), ["ac", "bc"]),
    ],
    ids=["chain", "towers", "merged", "gated", "cut", "recurrent", "state", "checkpoint"],
)
def test_layers_on_no_way_with_one_another_are_apart(forward: Any, apart: list[str]) -> None:
    layout = layout_of(forward)
    flow = Flow(layout)
    called = [module.name for module in layout.modules if module.called]
    found = {"".join(sorted(one[0] + other[0])) for one, other in permutations(called, 2) if flow.apart(one, other)}
    assert sorted(found) == apart
    assert all(module.traced == module.called for module in layout.modules)


def test_a_layer_is_given_what_lies_right_behind_it() -> None:
    layout = layout_of(lambda m, x: m.d(m.c(m.a(x) + m.b(x))))
    place = {module.name: i for i, module in enumerate(layout.modules)}
    inputs = {module.name: list(module.inputs) for module in layout.modules}
    assert inputs["a"] == inputs["b"] == []
    assert inputs["c"] == [-1]
    assert sorted(layout.joints[0].inputs) == sorted([place["a"], place["b"]])
    assert inputs["d"] == [place["c"]]


def test_a_state_that_goes_round_is_one_joint() -> None:
    assert len(layout_of(several_times).joints) == 1


def test_a_graph_too_large_to_be_read_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_flow, "NODES_READ", 5)
    layout = layout_of(lambda m, x: m.e(m.d(m.c(m.b(m.a(x))))))
    assert not any(module.traced for module in layout.modules)
    flow = Flow(layout)
    assert not flow.apart("a", "e")
    assert flow.ends(["a", "e"]) == {"e"}


def test_thousands_of_residual_layers() -> None:
    blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(3000))

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = blocks

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for block in self.blocks:
                x = x + block(x)
            return x

    recorder, model = MemoryRecorder(), Residual()
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    watch = Watch(recorder, model, optimizer, every=1)
    model(torch.randn(1, 2)).sum().backward()
    optimizer.step()
    watch.remove()
    layout = recorder.stream.layouts[-1]
    flow = Flow(layout)
    names = [module.name for module in layout.modules]
    assert all(module.traced for module in layout.modules)
    assert not flow.apart(names[0], names[-1])
    assert [len(strand.judged) for strand in flow.strands(names)] == [3000]


@pytest.mark.parametrize("inputs", [[7], [-9], [0], [-1]], ids=["no module", "no joint", "itself", "circle"])
def test_a_layout_that_makes_no_sense_is_read(inputs: list[int]) -> None:
    modules = [Module(name="a", traced=True, inputs=inputs), Module(name="b", traced=True)]
    flow = Flow(Layout(modules=modules, joints=[Joint(inputs=[0, -1])]))
    assert flow.apart("a", "b")
    assert len(flow.strands(["a", "b"])) == 2
