"""Ill and healthy twins for the rules on gradients, updates, activations, weights and numerics."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tb_nnhealth import SummaryWriter

from .fit import fit, initialize, mlp
from .registry import pair


@pair("update-ratio-too-high")
def learning_rate_far_too_high(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 64, 64, 64, 10)
    fit(writer, model, torch.optim.Adam(model.parameters(), lr=0.5 if ill else 1e-3), flat=True)


@pair("update-ratio-too-low")
def learning_rate_far_too_low(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 64, 64, 10)
    fit(writer, model, torch.optim.SGD(model.parameters(), lr=1e-6 if ill else 5e-2), flat=True)


@pair("vanishing-gradients", subject="[0-6]*")
def ten_sigmoids(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, *[32] * 10, 10, activation=nn.Sigmoid if ill else nn.ReLU)
    if not ill:
        initialize(model, nn.init.kaiming_normal_)
    fit(writer, model, torch.optim.SGD(model.parameters(), lr=0.05), flat=True)


class Recurrent(nn.Module):
    """A hand-written recurrence h ← relu(W h + U x) over the rows of an image."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.into = nn.Linear(8, 48)
        self.recur = nn.Linear(48, 48, bias=False)
        self.out = nn.Linear(48, 10)
        nn.init.orthogonal_(self.recur.weight, gain=gain)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), 48)
        for _ in range(4):
            for row in x.squeeze(1).unbind(1):
                h = torch.relu(self.recur(h) + self.into(row))
        return self.out(h)


@pair("exploding-gradients", first=False)
def recurrence_that_grows(writer: SummaryWriter, ill: bool) -> None:
    model = Recurrent(2.5 if ill else 0.9)
    fit(writer, model, torch.optim.SGD(model.parameters(), lr=1e-3 if ill else 1e-2), steps=150)


class Detached(nn.Module):
    """Encoder and head; the encoder's output is detached by mistake where ``ill``."""

    def __init__(self, ill: bool) -> None:
        super().__init__()
        self.encoder = mlp(64, 48, 48)
        self.head = mlp(48, 32, 10)
        self.ill = ill

    def forward(self, x: Tensor) -> Tensor:
        h = self.encoder(x)
        return self.head(h.detach() if self.ill else h)


@pair("no-gradient", subject="encoder*")
def encoder_detached(writer: SummaryWriter, ill: bool) -> None:
    model = Detached(ill)
    fit(writer, model, torch.optim.Adam(model.parameters(), lr=1e-3), flat=True)


@pair("frozen-parameters", subject="2*")
def weights_restored_after_each_step(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 64, 64, 10)
    layer = model[2]
    assert isinstance(layer, nn.Linear)

    class Restoring(torch.optim.Adam):
        """An optimizer whose author forgot that one layer's old weights are written back."""

        def step(self, closure=None):  # type: ignore[no-untyped-def, override]
            before = layer.weight.detach().clone()
            result = super().step(closure)
            if ill:
                with torch.no_grad():
                    layer.weight.copy_(before)
            return result

    fit(writer, model, Restoring(model.parameters(), lr=1e-3), flat=True)


@pair("optimizer-misses-parameters", subject="4*")
def head_replaced_after_the_optimizer_was_built(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 64, 64, 5)
    if not ill:
        model[4] = nn.Linear(64, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    if ill:
        model[4] = nn.Linear(64, 10)
    fit(writer, model, optimizer, flat=True)


@pair("dead-units", subject="[23]", onset=(55, 85))
def biases_pushed_far_below_zero(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 64, 64, 10)
    layer = model[2]
    assert isinstance(layer, nn.Linear)

    def before_step(step: int) -> None:
        if ill and step == 60:
            with torch.no_grad():
                layer.bias[:48] -= 20.0

    fit(writer, model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), flat=True, before_step=before_step)


@pair("saturated-units", first=False)
def tanh_of_large_weights(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 64, 64, 64, 64, 10, activation=nn.Tanh)
    if ill:
        initialize(model, lambda weight: nn.init.normal_(weight, std=1.5), only=lambda name: name[0] in "0246")
    fit(writer, model, torch.optim.SGD(model.parameters(), lr=1e-2), flat=True)


@pair("vanishing-activations", first=False)
def tanh_of_small_weights(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, *[64] * 8, 10, activation=nn.Tanh)
    initialize(model, (lambda weight: nn.init.normal_(weight, std=0.01)) if ill else nn.init.xavier_normal_)
    fit(writer, model, torch.optim.SGD(model.parameters(), lr=0.05), flat=True)


@pair("exploding-activations", first=False)
def relu_of_large_weights(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, *[64] * 8, 10)
    initialize(model, (lambda weight: nn.init.normal_(weight, std=0.6)) if ill else nn.init.kaiming_normal_)
    fit(writer, model, torch.optim.Adam(model.parameters(), lr=1e-3), flat=True)


@pair("symmetric-units", subject="*")
def constant_initialization(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 48, 48, 10)
    if ill:
        initialize(model, lambda weight: nn.init.constant_(weight, 0.02))
        for layer in (model[0], model[2], model[4]):
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    fit(writer, model, torch.optim.SGD(model.parameters(), lr=0.05), flat=True)


class Logarithm(nn.Module):
    """Takes the logarithm of its features, of zero too where ``ill``."""

    def __init__(self, ill: bool) -> None:
        super().__init__()
        self.ill = ill

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x if self.ill else x.clamp_min(1e-3))


@pair("non-finite", subject="2", onset=(40, 40))
def logarithm_of_zero(writer: SummaryWriter, ill: bool) -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.Softplus(), Logarithm(ill), nn.Linear(64, 10))
    layer = model[0]
    assert isinstance(layer, nn.Linear)

    def before_step(step: int) -> None:
        if step == 40:
            with torch.no_grad():
                layer.bias[3] = -1000.0

    # Where it began is seen in the one step before the weights are lost; a later record could not tell.
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    fit(writer, model, optimizer, flat=True, before_step=before_step, steps=100, every=1)
