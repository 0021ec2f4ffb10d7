"""Ill and healthy twins for the rules on batches, labels and what the criterion is given."""

from __future__ import annotations

import torch
from tb_nnhealth.demo.data import Digits, digits
from torch import Tensor, nn

from tb_nnhealth import SummaryWriter

from .fit import fit, mlp
from .registry import healthy, pair

Batch = tuple[Tensor, Tensor]


def adam(model: nn.Module, lr: float = 1e-3) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=lr)


@pair("constant-input")
def pixels_from_0_to_1_cast_to_integers(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 64, 10)

    def batch(step: int, x: Tensor, y: Tensor) -> Batch:
        pixels = 0.99 * (x - x.min()) / (x.max() - x.min())
        return pixels.to(torch.uint8).float() if ill else pixels, y

    fit(writer, model, adam(model), flat=True, batch=batch)


@pair("repeated-batch", subject="input", onset=(55, 70))
def batch_kept_in_a_variable(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 64, 10)
    kept: list[Batch] = []

    def batch(step: int, x: Tensor, y: Tensor) -> Batch:
        if step < 60:
            kept[:] = [(x, y)]
        return kept[0] if ill else (x, y)

    fit(writer, model, adam(model), flat=True, batch=batch, steps=120, every=1)


@pair("input-range-mismatch", subject="input", onset=(10, 40))
def validation_not_normalized(writer: SummaryWriter, ill: bool) -> None:
    data, model = digits(), mlp(64, 64, 10)
    if ill:
        pixels = (data.val_x - data.val_x.min()) / (data.val_x.max() - data.val_x.min()) * 16
        data = Digits(data.train_x, data.train_y, pixels, data.val_y)
    fit(writer, model, adam(model), data=data, flat=True, validate_every=20, every=1)


@pair("single-class-batches", subject="target")
def one_class_in_each_batch(writer: SummaryWriter, ill: bool) -> None:
    data, model = digits(), mlp(64, 64, 10)
    of_class = [torch.flatten((data.train_y == label).nonzero()) for label in range(10)]
    generator = torch.Generator().manual_seed(3)

    def batch(step: int, x: Tensor, y: Tensor) -> Batch:
        if not ill:
            return x, y
        members = of_class[int(torch.randint(10, (), generator=generator))]
        chosen = members[torch.randint(len(members), (64,), generator=generator)]
        return data.train_x[chosen], data.train_y[chosen]

    fit(writer, model, adam(model), flat=True, batch=batch)


@pair("unshuffled-data", subject="target")
def sorted_by_class(writer: SummaryWriter, ill: bool) -> None:
    """Read through a small shuffle buffer, so that a batch holds a few neighbouring classes."""
    data, model = digits(), mlp(64, 64, 10)
    generator = torch.Generator().manual_seed(4)
    by_class = torch.argsort(data.train_y + 2 * torch.rand(len(data.train_y), generator=generator))

    def batch(step: int, x: Tensor, y: Tensor) -> Batch:
        order = by_class if ill else torch.randperm(len(by_class), generator=generator)
        chosen = order[(torch.arange(32) + 32 * step) % len(order)]
        return data.train_x[chosen], data.train_y[chosen]

    fit(writer, model, adam(model), flat=True, batch=batch, steps=250)


@pair("class-imbalance", subject="target")
def one_sample_in_forty(writer: SummaryWriter, ill: bool) -> None:
    """Nine against eight, told apart by a network of two units under a rate that suits balanced classes."""
    data, model = digits(), mlp(64, 2, 2)
    common, rare = ((data.train_y == label).nonzero().flatten() for label in (8, 9))
    generator = torch.Generator().manual_seed(5)

    def batch(step: int, x: Tensor, y: Tensor) -> Batch:
        is_rare = torch.rand(64, generator=generator) < (0.025 if ill else 0.5)
        of_common = common[torch.randint(len(common), (64,), generator=generator)]
        of_rare = rare[torch.randint(len(rare), (64,), generator=generator)]
        return data.train_x[torch.where(is_rare, of_rare, of_common)], is_rare.long()

    fit(writer, model, torch.optim.SGD(model.parameters(), lr=0.02), flat=True, batch=batch, steps=400)


@pair("too-few-samples", subject="input")
def fifty_samples_are_left(writer: SummaryWriter, ill: bool) -> None:
    data = digits()
    if ill:
        data = Digits(data.train_x[:50], data.train_y[:50], data.val_x, data.val_y)
    model = mlp(64, 128, 128, 10)
    steps = 1000 if ill else 300
    fit(writer, model, adam(model), data=data, flat=True, steps=steps, batch_size=25, validate_every=10)


@pair("large-batch", onset=(0, 60))
def thousand_samples_in_a_batch(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 32, 10)
    fit(writer, model, adam(model), flat=True, batch_size=1024 if ill else 32, steps=60, every=1)


@pair("nll-without-log-softmax", subject="prediction")
def log_softmax_forgotten(writer: SummaryWriter, ill: bool) -> None:
    model = nn.Sequential(*mlp(64, 64, 10), *([] if ill else [nn.LogSoftmax(dim=1)]))
    fit(writer, model, adam(model), flat=True, criterion=nn.NLLLoss())


@pair("target-broadcast", subject="prediction")
def one_column_against_none(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 32, 1)

    def batch(step: int, x: Tensor, y: Tensor) -> Batch:
        brightness = x.flatten(1).square().mean(1)
        return x, brightness if ill else brightness[:, None]

    fit(writer, model, adam(model), flat=True, criterion=nn.MSELoss(), batch=batch, steps=250)


@healthy
def small_data_read_in_a_fixed_order(writer: SummaryWriter) -> None:
    """Five batches that come again in every epoch, always in the same order."""
    data, model = digits(), mlp(64, 32, 10)

    def batch(step: int, x: Tensor, y: Tensor) -> Batch:
        part = slice(64 * (step % 5), 64 * (step % 5 + 1))
        return data.train_x[part], data.train_y[part]

    fit(writer, model, adam(model), flat=True, batch=batch, steps=150)


@healthy
def rare_class_that_is_learned(writer: SummaryWriter) -> None:
    data, model = digits(), mlp(64, 32, 2)
    rare = (data.train_y == 0).nonzero().flatten()[:8]
    common = (data.train_y == 1).nonzero().flatten()
    kept = torch.cat((common, rare))

    def batch(step: int, x: Tensor, y: Tensor) -> Batch:
        chosen = kept[torch.randint(len(kept), (64,))]
        return data.train_x[chosen], (data.train_y[chosen] == 0).long()

    fit(writer, model, adam(model, 3e-3), flat=True, batch=batch, steps=300)


@healthy
def noise_on_the_inputs_of_training_alone(writer: SummaryWriter) -> None:
    model = mlp(64, 64, 10)
    noisy = nn.Sequential(AddNoise(), *model)
    fit(writer, noisy, adam(noisy), flat=True, validate_every=20)


class AddNoise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 0.5 * torch.randn_like(x) if self.training else x


@healthy
def probabilities_observed_beside_the_loss_of_logits(writer: SummaryWriter) -> None:
    data, model = digits(), mlp(64, 64, 10)
    optimizer = adam(model)
    writer.watch(model, optimizer)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        chosen = torch.randint(len(data.train_x), (32,), generator=generator)
        x, y = data.train_x[chosen].flatten(1), data.train_y[chosen]
        optimizer.zero_grad()
        logits = model(x)
        loss = nn.functional.cross_entropy(logits, y)
        loss.backward()
        writer.observe(inputs=x, targets=y, outputs=logits.softmax(1), loss=loss)
        optimizer.step()
