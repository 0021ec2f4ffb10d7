"""Small models of many architectures, whose training with a watch must be the training without one bit for bit.

Each is a function that gives the model, made of parts in ``blocks`` that a sweep may checkpoint, and its batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

Made = tuple[list[nn.Module], Callable[[], torch.Tensor]]
MODELS: dict[str, Callable[[], Made]] = {}
IN_FLOAT32_ALONE = ("lstm",)
"""Torch itself may have no kernel of fewer bits for these on a CPU."""


def model(make: Callable[[], Made]) -> Callable[[], Made]:
    MODELS[make.__name__] = make
    return make


class Chain(nn.Module):
    """Parts one after another; ``checkpointed`` computes all but the first again in the backward pass."""

    def __init__(self, parts: list[nn.Module], *, checkpointed: bool = False) -> None:
        super().__init__()
        self.blocks, self.checkpointed = nn.ModuleList(parts), checkpointed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, block in enumerate(self.blocks):
            x = checkpoint(block, x, use_reentrant=False) if self.checkpointed and i else block(x)
        return x


class Around(nn.Module):
    """``x + inner(x)``, or another way to join the two."""

    def __init__(self, inner: nn.Module, join: Callable[[Any, Any], Any] = torch.add) -> None:
        super().__init__()
        self.inner, self.join = inner, join

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.join(x, self.inner(x))


class Apply(nn.Module):
    """A function between two parts."""

    def __init__(self, function: Callable[[Any], Any], inner: nn.Module | None = None) -> None:
        super().__init__()
        self.function, self.inner = function, inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x if self.inner is None else self.inner(x))


def vectors() -> torch.Tensor:
    return torch.randn(6, 8)


def images() -> torch.Tensor:
    return torch.randn(3, 2, 8, 8)


def signals() -> torch.Tensor:
    return torch.randn(3, 2, 12)


def sequences() -> torch.Tensor:
    return torch.randn(3, 5, 8)


def tokens() -> torch.Tensor:
    return torch.randint(0, 11, (3, 5))


def _activated(act: nn.Module) -> Callable[[], Made]:
    def make() -> Made:
        return [nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 12), act), nn.Linear(12, 3)], vectors

    return make


for _act in (
    nn.ReLU(), nn.ReLU(inplace=True), nn.LeakyReLU(), nn.ELU(), nn.SELU(), nn.GELU(), nn.SiLU(), nn.Mish(),
    nn.Softplus(), nn.Hardswish(), nn.Tanh(), nn.Sigmoid(), nn.Softmax(1), nn.Softsign(),
):  # fmt: skip
    _name = f"mlp_{type(_act).__name__}{'_in_place' if getattr(_act, 'inplace', False) else ''}"
    MODELS[_name] = _activated(_act)


@model
def mlp_deep() -> Made:
    return [nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(12)], vectors


@model
def mlp_with_prelu_and_dropout() -> Made:
    return [
        nn.Linear(8, 12),
        nn.PReLU(12),
        nn.Dropout(0.3),
        nn.AlphaDropout(0.2),
        nn.Linear(12, 2),
    ], vectors


@model
def mlp_batch_norm() -> Made:
    return [nn.Sequential(nn.Linear(8, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU()) for _ in range(3)], vectors


@model
def mlp_layer_norm_residual() -> Made:
    return [
        Around(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))) for _ in range(3)
    ], vectors


@model
def mlp_rms_norm_gated() -> Made:
    return [nn.Sequential(nn.RMSNorm(8), nn.Linear(8, 16), nn.GLU()) for _ in range(3)], vectors


@model
def mixture_by_softmax() -> Made:
    gate = Around(nn.Sequential(nn.Linear(8, 8), nn.Softmax(1)), torch.mul)
    return [gate, nn.Linear(8, 4), nn.LogSoftmax(1)], vectors


@model
def bilinear_and_cosine() -> Made:
    return [
        Around(nn.Linear(8, 8), lambda a, b: F.cosine_similarity(a, b, dim=1, eps=1e-6)[:, None] * a),
        nn.Linear(8, 2),
    ], vectors


@model
def autoencoder() -> Made:
    return [nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2), nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 8)], vectors


@model
def functional_activations() -> Made:
    return [
        Apply(torch.tanh, nn.Linear(8, 8)),
        Apply(F.relu, nn.Linear(8, 8)),
        Apply(torch.sigmoid, nn.Linear(8, 2)),
    ], vectors


@model
def convolutional() -> Made:
    return [nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)], images


@model
def convolutional_batch_norm() -> Made:
    return [
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Conv2d(4, 2, 3),
        nn.AdaptiveAvgPool2d(1),
    ], images


@model
def convolutional_group_norm() -> Made:
    return [nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.SiLU(), nn.Conv2d(4, 2, 3, stride=2)], images


@model
def convolutional_instance_norm() -> Made:
    return [
        nn.Conv2d(2, 4, 3),
        nn.InstanceNorm2d(4, affine=True),
        nn.LeakyReLU(0.2),
        nn.Dropout2d(0.3),
        nn.Conv2d(4, 1, 1),
    ], images


@model
def residual_network() -> Made:
    inner = lambda: nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)
    )
    return [nn.Conv2d(2, 4, 3), Around(inner()), Around(inner()), nn.AvgPool2d(2)], images


@model
def depthwise_separable() -> Made:
    return [nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Hardswish(), nn.Conv2d(4, 3, 1)], images


@model
def squeeze_and_excitation() -> Made:
    squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1), nn.ReLU(), nn.Conv2d(2, 4, 1), nn.Sigmoid())
    return [nn.Conv2d(2, 4, 3), Around(squeeze, torch.mul), nn.Conv2d(4, 1, 3)], images


@model
def dense_network() -> Made:
    join = lambda a, b: torch.cat([a, b], 1)
    return [
        Around(nn.Conv2d(2, 2, 3, padding=1), join),
        Around(nn.Conv2d(4, 2, 3, padding=1), join),
        nn.Conv2d(6, 1, 1),
    ], images


@model
def up_and_down() -> Made:
    return [
        nn.Conv2d(2, 4, 2, stride=2),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 2, 2, stride=2),
        nn.Upsample(scale_factor=2),
    ], images


@model
def pixel_shuffle() -> Made:
    return [nn.Conv2d(2, 4, 3, padding=1), nn.PixelShuffle(2), nn.Conv2d(1, 2, 3)], images


@model
def one_dimensional_convolution() -> Made:
    return [nn.Conv1d(2, 4, 3, dilation=2), nn.ELU(), nn.Conv1d(4, 4, 3), nn.AdaptiveMaxPool1d(2)], signals


@model
def three_dimensional_convolution() -> Made:
    return [nn.Conv3d(1, 2, 2), nn.BatchNorm3d(2), nn.ReLU(), nn.Conv3d(2, 1, 2)], lambda: torch.randn(2, 1, 4, 4, 4)


@model
def lstm() -> Made:
    return [Apply(lambda out: out[0], nn.LSTM(8, 6, 2, batch_first=True, dropout=0.1)), nn.Linear(6, 2)], sequences


@model
def gru_both_ways() -> Made:
    return [Apply(lambda out: out[0], nn.GRU(8, 4, batch_first=True, bidirectional=True)), nn.Linear(8, 2)], sequences


@model
def elman_network() -> Made:
    return [Apply(lambda out: out[1].squeeze(0), nn.RNN(8, 6, batch_first=True)), nn.Linear(6, 2)], sequences


@model
def bag_of_words() -> Made:
    return [nn.EmbeddingBag(11, 8, mode="mean"), nn.Linear(8, 2)], tokens


@model
def language_model() -> Made:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
    return [nn.Embedding(11, 8), layer, nn.Linear(8, 11)], tokens


@model
def transformer_norm_first() -> Made:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    return [nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.LayerNorm(8)], sequences


class SelfAttention(nn.Module):
    def __init__(self, *, fused: bool) -> None:
        super().__init__()
        self.qkv, self.out, self.fused = nn.Linear(8, 24), nn.Linear(8, 8), fused

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        if self.fused:
            return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True))
        return self.out((q @ k.transpose(-1, -2) / 8**0.5).softmax(-1) @ v)


@model
def attention_by_hand() -> Made:
    return [Around(SelfAttention(fused=False)), nn.LayerNorm(8), nn.Linear(8, 2)], sequences


@model
def attention_fused() -> Made:
    return [Around(SelfAttention(fused=True)), nn.RMSNorm(8), nn.Linear(8, 2)], sequences


@model
def vision_transformer() -> Made:
    patches = Apply(lambda out: out.flatten(2).transpose(1, 2), nn.Conv2d(2, 8, 4, stride=4))
    block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
    return [patches, block, Apply(lambda out: out.mean(1)), nn.Linear(8, 3)], images


@model
def mlp_mixer() -> Made:
    across = nn.Sequential(Apply(lambda x: x.transpose(1, 2)), nn.Linear(5, 5), Apply(lambda x: x.transpose(1, 2)))
    return [
        Around(across),
        Around(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU())),
        nn.Linear(8, 1),
    ], sequences


@model
def weight_norm_and_spectral_norm() -> Made:
    parametrizations = nn.utils.parametrizations
    return [
        parametrizations.weight_norm(nn.Linear(8, 8)),
        nn.Tanh(),
        parametrizations.spectral_norm(nn.Linear(8, 2)),
    ], vectors


@model
def graph_convolution() -> Made:
    spread = Apply(lambda x: (torch.ones(6, 6) / 6) @ x)
    return [nn.Linear(8, 8), spread, nn.ReLU(), nn.Linear(8, 8), spread, nn.Linear(8, 2)], vectors


@model
def variational() -> Made:
    sample = Apply(lambda x: x[:, :4] + torch.randn(x.shape[0], 4) * (0.5 * x[:, 4:]).exp())
    return [nn.Linear(8, 8), sample, nn.Linear(4, 8), nn.Sigmoid()], vectors
