"""Set aside: ill from the first weights on: their scale, their sameness, their biases."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, RMSprop

from tb_nnhealth import SummaryWriter
from tests.zoo.held_out.pictures_data import accuracy, customers, digits, friedman, scaled, shapes, standardized, waves
from tests.zoo.registry import ill


@ill(
    "uniform-from-zero-to-one",
    "poor-init-scale",
    "exploding-activations",
    "activation-mean-shift",
    "initial-loss-off",
    held_out=True,
    source="DeepCrime WCI: change weights initialisation; forum: nn.init.uniform_(w)",
)
def weights_drawn_by_a_bare_uniform(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(customers())
    model = nn.Sequential(
        nn.Linear(20, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 2)
    )
    if fault:
        for parameter in model.parameters():
            nn.init.uniform_(parameter)
    criterion, optimizer = nn.CrossEntropyLoss(), SGD(model.parameters(), lr=0.05)
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for _ in range(12):
        for x, y in data.loader(50):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            writer.add_scalar("train/loss", loss.item(), step)
            step += 1
        writer.add_scalar("val/accuracy", accuracy(model, data.val_x, data.val_y), step)


class DeepNet(nn.Module):
    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth))
        self.head = nn.Linear(width * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        for block in self.blocks:
            x = F.relu(block(x))
        return self.head(F.max_pool2d(x, 2).flatten(1))


@ill(
    "default-scale-in-a-deep-relu-net",
    "vanishing-activations",
    "vanishing-gradients",
    "poor-init-scale",
    held_out=True,
    source="He et al. (2015); forum: PyTorch's default initialization in a deep plain network",
)
def ten_plain_convolutions(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(digits(), 76, 96)
    net = DeepNet(10, 16)
    if not fault:
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
    optimizer = SGD(net.parameters(), lr=0.01, momentum=0.9)
    writer.watch(net, optimizer)
    step = 0
    for epoch in range(12):
        for x, y in data.loader(32):
            loss = F.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
            writer.add_scalar("loss/train", loss.item(), step)
            step += 1
        writer.add_scalar("accuracy/val", accuracy(net, data.val_x, data.val_y), epoch)


@ill(
    "orthogonal-with-a-gain-of-eight",
    "poor-init-scale",
    "exploding-activations",
    "saturated-units",
    "initial-loss-off",
    held_out=True,
    source="TheDeepChecker: poor weight initialization, too large",
)
def orthogonal_tanh_layers_of_gain_eight(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(digits(), 76, 96)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(),
        nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10),
    )  # fmt: skip
    for module in model:
        if isinstance(module, nn.Linear):
            nn.init.orthogonal_(module.weight, gain=8.0 if fault else 1.0)
            nn.init.zeros_(module.bias)
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(10):
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            writer.add_scalar("Loss/train", loss.item(), epoch)
            writer.add_scalar("Loss/val", criterion(model(data.val_x), data.val_y), epoch)
        writer.add_scalar("Accuracy/val", accuracy(model, data.val_x, data.val_y), epoch)


@ill(
    "normal-of-a-ten-thousandth",
    "poor-init-scale",
    "vanishing-activations",
    "vanishing-gradients",
    "slow-start",
    held_out=True,
    source="CS231n: small random numbers; DeepCrime WCI",
)
def gaussians_of_std_a_ten_thousandth(writer: SummaryWriter, fault: bool = True) -> None:
    data = waves()
    std = 1e-4 if fault else 0.15
    net = nn.Sequential()
    net.add_module("conv1", nn.Conv1d(1, 16, 7, padding=3))
    net.add_module("relu1", nn.ReLU())
    net.add_module("pool1", nn.MaxPool1d(2))
    net.add_module("conv2", nn.Conv1d(16, 24, 5, padding=2))
    net.add_module("relu2", nn.ReLU())
    net.add_module("pool2", nn.AdaptiveMaxPool1d(4))
    net.add_module("flat", nn.Flatten())
    net.add_module("fc", nn.Linear(96, 5))
    for name, parameter in net.named_parameters():
        nn.init.normal_(parameter, std=std) if "weight" in name else nn.init.zeros_(parameter)
    optimizer = SGD(net.parameters(), lr=0.02, momentum=0.9)
    writer.watch(net, optimizer)
    step = 0
    for _ in range(9):
        for x, y in data.loader(32):
            loss = F.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 5 == 0:
                writer.add_scalar("training loss", loss.item(), step)
            step += 1
        writer.add_scalar("validation accuracy", accuracy(net, data.val_x, data.val_y), step)


@ill(
    "every-filter-the-same",
    "symmetric-units",
    held_out=True,
    source="TheDeepChecker: symmetric weights; forum: nn.init.constant_(w, 0.01)",
)
def filters_set_to_a_constant(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(shapes())
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 5),
    )  # fmt: skip
    if fault:
        for module in (model[0], model[3]):
            nn.init.constant_(module.weight, 0.05)
            nn.init.zeros_(module.bias)
    optimizer = Adam(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)
    for epoch in range(10):
        running = 0.0
        for x, y in data.loader(32):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            running += loss.item()
        writer.add_scalar("epoch_loss", running / 37, epoch)
        writer.add_scalar("epoch_val_acc", accuracy(model, data.val_x, data.val_y), epoch)


@ill(
    "hidden-weights-of-zero",
    "symmetric-units",
    "constant-output",
    "vanishing-activations",
    "no-gradient",
    held_out=True,
    source="DeepCrime WCI: zeros; StackOverflow: all weights zero",
)
def table_network_begun_at_zero(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(friedman())
    target = data.train_y.mean(), data.train_y.std()
    model = nn.Sequential(nn.Linear(10, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 1))
    if fault:
        for parameter in model.parameters():
            nn.init.zeros_(parameter)
    criterion, optimizer = nn.MSELoss(), RMSprop(model.parameters(), lr=1e-3)
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for _ in range(12):
        for x, y in data.loader(40):
            optimizer.zero_grad()
            loss = criterion(model(x), (y - target[0]) / target[1])
            loss.backward()
            optimizer.step()
            writer.add_scalar("mse/train", loss.item(), step)
            step += 1
        with torch.no_grad():
            writer.add_scalar("mse/val", criterion(model(data.val_x), (data.val_y - target[0]) / target[1]), step)


@ill(
    "last-layer-begun-hot",
    "initial-loss-off",
    "poor-init-scale",
    held_out=True,
    source="Karpathy's recipe: verify loss at init; init well",
)
def logits_in_the_hundreds_at_first(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(digits(), 76, 96)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 48), nn.ReLU(), nn.Linear(48, 10))
    if fault:
        nn.init.normal_(model[-1].weight, std=60.0)
    optimizer = Adam(model.parameters(), lr=1e-3)
    writer.watch(model, optimizer)
    step = 0
    for epoch in range(10):
        for x, y in data.loader(32):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("Train/Loss", loss, step)
            step += 1
        with torch.no_grad():
            writer.add_scalar("Val/Loss", F.cross_entropy(model(data.val_x), data.val_y), epoch)
        writer.add_scalar("Val/Acc", accuracy(model, data.val_x, data.val_y), epoch)


@ill(
    "negative-biases-at-first",
    "dead-units",
    "vanishing-activations",
    "constant-output",
    held_out=True,
    source="CS231n: dead ReLUs; TheDeepChecker: poor bias initialization",
)
def biases_of_minus_six(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(shapes())
    model = nn.Sequential(
        nn.Conv2d(3, 12, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(384, 32), nn.ReLU(), nn.Linear(32, 5),
    )  # fmt: skip
    if fault:
        for module in model:
            if isinstance(module, nn.Conv2d):
                nn.init.constant_(module.bias, -6.0)
    optimizer, criterion = SGD(model.parameters(), lr=0.03, momentum=0.9), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for _ in range(12):
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss", loss.item(), step)
            step += 1
        writer.add_scalar("accuracy/validation", accuracy(model, data.val_x, data.val_y), step)


@ill(
    "prices-in-whole-units",
    "initial-loss-off",
    "learning-rate-too-low",
    "still-improving",
    held_out=True,
    source="Forum: house prices of 200 000 are never reached; UMLAUT",
)
def prices_never_standardized(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(friedman())
    unit, shift = (15_000.0, 0.0) if fault else (1 / 5, -14.4 / 5)
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
    criterion, optimizer = nn.L1Loss(), Adam(model.parameters(), lr=1e-3)
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(16):
        for x, y in data.loader(48):
            optimizer.zero_grad()
            loss = criterion(model(x), y * unit + shift)
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            error = criterion(model(data.val_x), data.val_y * unit + shift)
        writer.add_scalar("loss/train", loss.item(), epoch)
        writer.add_scalar("loss/val", error.item(), epoch)
        writer.add_scalar("error in points", error.item() / unit, epoch)


@ill(
    "gain-of-relu-forgotten-in-a-signal-net",
    "poor-init-scale",
    "exploding-activations",
    "exploding-gradients",
    "initial-loss-off",
    held_out=True,
    source="He et al. (2015); Zhang et al. (ISSTA 2018): unit normal weights",
)
def unit_normal_weights_in_a_signal_net(writer: SummaryWriter, fault: bool = True) -> None:
    data = waves()
    net = nn.Sequential(
        nn.Conv1d(1, 12, 9, stride=2, padding=4), nn.ReLU(), nn.Conv1d(12, 24, 7, stride=2, padding=3), nn.ReLU(),
        nn.Conv1d(24, 24, 5, padding=2), nn.ReLU(), nn.AdaptiveMaxPool1d(4), nn.Flatten(), nn.Linear(96, 5),
    )  # fmt: skip
    for module in net:
        if hasattr(module, "weight"):
            if fault:
                module.weight.data.normal_(0, 1)
            else:
                nn.init.kaiming_normal_(module.weight)
            module.bias.data.zero_()
    optimizer = Adam(net.parameters(), lr=1e-3)
    writer.watch(net, optimizer)
    step = 0
    for epoch in range(7):
        for x, y in data.loader(32):
            loss = F.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss/train", loss.item(), step)
            step += 1
        with torch.no_grad():
            writer.add_scalar("loss/val", F.cross_entropy(net(data.val_x), data.val_y), step)
        writer.add_scalar("acc/val", accuracy(net, data.val_x, data.val_y), epoch)
