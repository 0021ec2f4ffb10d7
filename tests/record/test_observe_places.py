"""What a constant answer for each place costs under a binary cross-entropy."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tb_nnhealth.record.observe_places import FEWEST_SAMPLES, cost_of_places


def entropy(p: torch.Tensor) -> torch.Tensor:
    return torch.special.entr(p) + torch.special.entr(1 - p)


def test_cost_is_the_entropy_at_each_place() -> None:
    torch.manual_seed(0)
    share = torch.rand(400)
    shown = torch.stack([cost_of_places(torch.bernoulli(share.expand(24, -1))) for _ in range(50)])
    assert float(shown.mean()) == pytest.approx(float(entropy(share).mean()), rel=0.01)


def test_grey_pictures_cost_what_their_mean_costs_under_the_loss() -> None:
    torch.manual_seed(0)
    pictures = torch.rand(4096, 30) * torch.linspace(0.1, 1, 30)
    mean = pictures.mean(0).expand_as(pictures)
    assert float(cost_of_places(pictures)) == pytest.approx(float(nn.BCELoss()(mean, pictures)), rel=1e-3)


def test_places_that_never_vary_cost_nothing() -> None:
    assert float(cost_of_places(torch.tensor([[0.0, 1.0]]).repeat(20, 1))) == 0.0


@pytest.mark.parametrize(("samples", "positions"), [(FEWEST_SAMPLES - 1, 9), (64, 1)])
def test_too_few_to_tell(samples: int, positions: int) -> None:
    assert cost_of_places(torch.rand(samples, positions)) is None


def test_numbers_that_are_no_shares_have_no_cost() -> None:
    assert math.isnan(float(cost_of_places(3 * torch.rand(64, 9))))
    assert math.isnan(float(cost_of_places(torch.full((64, 9), math.nan))))
