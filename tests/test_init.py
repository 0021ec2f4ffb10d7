from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from tb_nnhealth.demo.models import CharacterTransformer, cnn
from torch import nn

from tb_nnhealth.init import lsuv_


def deep(depth: int = 12) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(32, 32), nn.Tanh()]
    return nn.Sequential(*layers)


def stds(model: nn.Module, x: torch.Tensor) -> list[float]:
    found: list[float] = []
    hooks = [
        m.register_forward_hook(lambda m, args, out: found.append(float(out.std(correction=0))))
        for m in model.modules()
        if isinstance(m, (nn.Linear, nn.Conv2d))
    ]
    with torch.no_grad():
        model.eval()(x)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("scale", [1e-3, 30.0])
def test_every_layer_has_unit_variance_from_any_start(scale):
    torch.manual_seed(0)
    model, x = deep(), torch.randn(256, 32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= scale
    for layer in model[::2]:
        nn.init.zeros_(layer.bias)
    reached = lsuv_(model, x)
    assert list(reached) == [str(2 * i) for i in range(12)]
    assert all(0.94 < std < 1.06 for std in stds(model, x))


def test_models_modes_and_buffers_are_left_as_they_were():
    model, x = cnn(), torch.randn(64, 1, 8, 8)
    model[1].eval()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    lsuv_(model, x)
    assert model.training
    assert not model[1].training
    assert model[4].training
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert not any(module._forward_hooks for module in model.modules())


def test_random_state_is_untouched_with_a_generator():
    model, x = deep(2), torch.randn(64, 32)
    state = torch.get_rng_state()
    lsuv_(model, x, generator=torch.Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), state)


def test_branches_that_start_at_zero_stay_at_zero():
    model = deep(3)
    nn.init.zeros_(model[2].weight)
    reached = lsuv_(model, torch.randn(64, 32), orthonormal=False)
    assert "2" not in reached
    assert not model[2].weight.any()


def test_token_ids_and_shared_layers():
    model = CharacterTransformer(50, depth=2)
    reached = lsuv_(model, torch.randint(50, (8, 32)), orthonormal=False)
    assert "head" in reached


def test_arguments_by_position_and_by_name():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x, y):
            return self.a(x) + self.b(y)

    x, y = torch.randn(32, 8), torch.randn(32, 8)
    assert set(lsuv_(Two(), (x, y))) == {"a", "b"}
    assert set(lsuv_(Two(), {"x": x, "y": y})) == {"a", "b"}


def test_a_batch_that_does_not_vary_is_refused():
    model = nn.Sequential(nn.Linear(8, 1))
    with pytest.raises(ValueError, match="several different samples"):
        lsuv_(model, torch.zeros(1, 8))


def test_a_model_that_is_one_layer():
    model, x = nn.Linear(16, 16), torch.randn(128, 16)
    assert list(lsuv_(model, x)) == [""]
    assert 0.94 < float(model(x).std(correction=0)) < 1.06


def test_it_is_there_without_an_import_of_its_own():
    code = "import tb_nnhealth; print(tb_nnhealth.init.lsuv_.__name__, 'init' in dir(tb_nnhealth))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.split() == ["lsuv_", "True"], found.stderr


def test_arguments_in_the_wrong_order_are_named():
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module and a batch of its inputs, found Tensor first"):
        lsuv_(torch.randn(8, 4), nn.Linear(4, 4))
