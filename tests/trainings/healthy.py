"""Healthy trainings of many kinds, odd ones among them; none may show a warning."""

from __future__ import annotations

import copy

import torch
from tb_nnhealth.demo.data import characters, digits
from tb_nnhealth.demo.loops import predict_characters, warm_up
from tb_nnhealth.demo.models import CharacterTransformer, cnn
from torch import Tensor, nn

from tb_nnhealth import SummaryWriter

from .fit import fit, mlp
from .registry import healthy


@healthy
def convolutional_with_adamw(writer: SummaryWriter) -> None:
    model = cnn()
    fit(writer, model, torch.optim.AdamW(model.parameters(), lr=1e-3), validate_every=20)


@healthy
def convolutional_with_sgd_and_momentum(writer: SummaryWriter) -> None:
    model = cnn()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    fit(writer, model, optimizer, validate_every=20)


@healthy
def wide_and_shallow(writer: SummaryWriter) -> None:
    model = mlp(64, 512, 10)
    fit(writer, model, torch.optim.RMSprop(model.parameters(), lr=5e-4), flat=True)


@healthy
def tanh_with_plain_sgd(writer: SummaryWriter) -> None:
    model = mlp(64, 64, 64, 10, activation=nn.Tanh)
    fit(writer, model, torch.optim.SGD(model.parameters(), lr=0.1), flat=True, steps=300)


@healthy
def small_batches(writer: SummaryWriter) -> None:
    model = mlp(64, 32, 10)
    fit(writer, model, torch.optim.Adam(model.parameters(), lr=1e-3), flat=True, batch_size=4, steps=400)


@healthy
def whole_data_in_every_batch(writer: SummaryWriter) -> None:
    data = digits()
    model = mlp(64, 32, 10)
    fit(
        writer, model, torch.optim.Adam(model.parameters(), lr=3e-3),
        flat=True, batch=lambda step, x, y: (data.train_x, data.train_y), steps=120,
    )  # fmt: skip


@healthy
def learning_rate_warmed_up_and_annealed_to_zero(writer: SummaryWriter) -> None:
    model = mlp(64, 64, 64, 10, activation=nn.GELU)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)

    def schedule(step: int) -> None:
        optimizer.param_groups[0]["lr"] = 3e-3 * min(step / 40, max(0.0, (300 - step) / 260))

    fit(writer, model, optimizer, flat=True, before_step=schedule, steps=300, validate_every=25)


@healthy
def trained_until_the_loss_is_nothing(writer: SummaryWriter) -> None:
    data = digits()
    small = type(data)(data.train_x[:64], data.train_y[:64], data.val_x, data.val_y)
    model = mlp(64, 128, 10)
    fit(writer, model, torch.optim.Adam(model.parameters(), lr=3e-3), data=small, flat=True, steps=500)


@healthy
def gradients_clipped(writer: SummaryWriter) -> None:
    model = mlp(64, 64, 64, 10)

    def clip(step: int) -> None:
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)

    fit(writer, model, torch.optim.AdamW(model.parameters(), lr=1e-3), flat=True, after_backward=clip)


class Residual(nn.Module):
    """Pre-normalized residual blocks, each branch ending in a layer that starts at zero."""

    def __init__(self, depth: int = 8, width: int = 48) -> None:
        super().__init__()
        self.stem = nn.Linear(64, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
            for _ in range(depth)
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 10))
        for block in self.blocks:
            nn.init.zeros_(block[3].weight)  # type: ignore[index]

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for block in self.blocks:
            h = h + block(h)
        return self.head(h)


@healthy
def residual_branches_that_start_at_zero(writer: SummaryWriter) -> None:
    model = Residual()
    fit(writer, model, torch.optim.AdamW(model.parameters(), lr=1e-3), flat=True)


class Rows(nn.Module):
    """Reads an image row by row with an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 48, num_layers=2, batch_first=True)
        self.head = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(x.squeeze(1))
        return self.head(states[:, -1])


@healthy
def recurrent(writer: SummaryWriter) -> None:
    model = Rows()
    fit(writer, model, torch.optim.Adam(model.parameters(), lr=3e-3), steps=300, validate_every=30)


@healthy
def character_transformer(writer: SummaryWriter) -> None:
    text = characters()
    model = CharacterTransformer(len(text.alphabet), depth=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    predict_characters(
        writer, model, optimizer, text, steps=250, progress=lambda step: None, learning_rate=warm_up(1e-3, 50)
    )


@healthy
def autoencoder_with_mean_squared_error(writer: SummaryWriter) -> None:
    model = mlp(64, 48, 12, 48, 64)
    fit(
        writer, model, torch.optim.Adam(model.parameters(), lr=2e-3),
        flat=True, criterion=nn.MSELoss(), batch=lambda step, x, y: (x, x.flatten(1)), steps=300,
    )  # fmt: skip


@healthy
def only_the_head_of_a_frozen_network(writer: SummaryWriter) -> None:
    model = cnn()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model[-1] = nn.Linear(64, 10)
    fit(writer, model, torch.optim.Adam(model[-1].parameters(), lr=3e-3))


@healthy
def fine_tuned_with_a_small_learning_rate(writer: SummaryWriter) -> None:
    model = cnn()
    with SummaryWriter(f"{writer.log_dir}-pretraining") as elsewhere:
        fit(elsewhere, model, torch.optim.AdamW(model.parameters(), lr=1e-3), steps=150)
    tuned = copy.deepcopy(model)
    fit(writer, tuned, torch.optim.AdamW(tuned.parameters(), lr=5e-5), steps=150)


@healthy
def accumulated_over_four_batches(writer: SummaryWriter) -> None:
    data, model, criterion = digits(), mlp(64, 64, 10), nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    writer.watch(model, optimizer, criterion=criterion)
    generator = torch.Generator().manual_seed(0)
    for step in range(600):
        chosen = torch.randint(len(data.train_x), (16,), generator=generator)
        loss = criterion(model(data.train_x[chosen].flatten(1)), data.train_y[chosen])
        (loss / 4).backward()
        writer.add_scalar("loss", loss.item(), step)
        if step % 4 == 3:
            optimizer.step()
            optimizer.zero_grad()


@healthy
def mixed_precision_in_bfloat16(writer: SummaryWriter) -> None:
    data, model, criterion = digits(), cnn(), nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    writer.watch(model, optimizer, criterion=criterion)
    generator = torch.Generator().manual_seed(0)
    for step in range(120):
        chosen = torch.randint(len(data.train_x), (64,), generator=generator)
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = criterion(model(data.train_x[chosen]), data.train_y[chosen])
        loss.backward()
        optimizer.step()
        writer.add_scalar("train_loss", loss.item(), step)


@healthy
def generator_and_discriminator(writer: SummaryWriter) -> None:
    data = digits()
    generator_net = nn.Sequential(*mlp(16, 64, 64), nn.Tanh())
    discriminator = mlp(64, 64, 1, activation=nn.LeakyReLU)
    criterion = nn.BCEWithLogitsLoss()
    optimizers = [
        torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999)) for net in (generator_net, discriminator)
    ]
    writer.watch(generator_net, optimizers[0], name="G")
    writer.watch(discriminator, optimizers[1], name="D")
    noise = torch.Generator().manual_seed(0)
    for step in range(250):
        chosen = torch.randint(len(data.train_x), (64,), generator=noise)
        real = data.train_x[chosen].flatten(1)
        fake = generator_net(torch.randn(64, 16, generator=noise))
        optimizers[1].zero_grad()
        d_loss = criterion(discriminator(real), torch.ones(64, 1)) + criterion(
            discriminator(fake.detach()), torch.zeros(64, 1)
        )
        d_loss.backward()
        optimizers[1].step()
        optimizers[0].zero_grad()
        g_loss = criterion(discriminator(fake), torch.ones(64, 1))
        g_loss.backward()
        optimizers[0].step()
        writer.add_scalar("loss/discriminator", d_loss.item(), step)
        writer.add_scalar("loss/generator", g_loss.item(), step)


class Bag(nn.Module):
    """Means of word vectors, most of whose rows see no gradient in a step."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 24)
        self.head = nn.Linear(24, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embedding(tokens).mean(1))


@healthy
def rare_rows_of_an_embedding(writer: SummaryWriter) -> None:
    model = Bag(5000)
    generator = torch.Generator().manual_seed(0)
    words = (torch.rand(1000, 12, generator=generator) ** 4 * 5000).long()
    labels = (words.float().mean(1) > 1000).long()
    optimizer, criterion = torch.optim.Adam(model.parameters(), lr=5e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for step in range(250):
        chosen = torch.randint(1000, (32,), generator=generator)
        optimizer.zero_grad()
        loss = criterion(model(words[chosen]), labels[chosen])
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss/train", loss.item(), step)


@healthy
def regression_of_one_variable(writer: SummaryWriter) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(256, 1, generator=generator) * 6 - 3
    y = torch.sin(x) + 0.1 * torch.randn(256, 1, generator=generator)
    model = mlp(1, 32, 32, 1, activation=nn.Tanh)
    optimizer, criterion = torch.optim.Adam(model.parameters(), lr=1e-2), nn.MSELoss()
    writer.watch(model, optimizer, criterion=criterion)
    for step in range(300):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss", loss.item(), step)


@healthy
def second_order_with_a_closure(writer: SummaryWriter) -> None:
    data = digits()
    model, criterion = mlp(64, 16, 10), nn.CrossEntropyLoss()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4, line_search_fn="strong_wolfe")
    writer.watch(model, optimizer, criterion=criterion)
    x = data.train_x.flatten(1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = criterion(model(x), data.train_y) + 1e-4 * sum(p.square().sum() for p in model.parameters())
        loss.backward()
        return loss

    for step in range(30):
        writer.add_scalar("loss/train", float(optimizer.step(closure)), step)
