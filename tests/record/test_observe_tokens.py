"""How the tokens asked for lie in those given, and which later tokens attention sees."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import pytest
import torch
from memory_recorder import MemoryRecorder, MemoryStream
from torch import nn
from torch.nn import functional

from tb_nnhealth import schema
from tb_nnhealth.record.observe_pairing import elsewhere
from tb_nnhealth.record.watch import Watch
from tb_nnhealth.schema import MEAN, ZERO_SHARE

KINDS, LENGTH, SAMPLES, STEPS = 11, 9, 16, 6
Pairs = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


class Reader(nn.Module):
    """Embeds tokens, attends over them with or without a causal mask, and scores each kind at each place."""

    def __init__(self, *, causal: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(KINDS, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, KINDS)
        self.mask = nn.Transformer.generate_square_subsequent_mask(LENGTH) if causal else None

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.layer(self.embed(tokens), src_mask=self.mask))
        return scores


def trained(pairs: Pairs, *, causal: bool = True, module: bool = True) -> MemoryStream:
    torch.manual_seed(0)
    model = Reader(causal=causal)
    optimizer, criterion = torch.optim.SGD(model.parameters(), 0.1), nn.CrossEntropyLoss(ignore_index=-100)
    recorder = MemoryRecorder()
    watch = Watch(recorder, model, optimizer, criterion=criterion if module else None, every=1)
    for _ in range(STEPS):
        x, y = pairs(torch.randint(0, KINDS, (SAMPLES, LENGTH + 1)))
        optimizer.zero_grad()
        z = model(x)
        loss = criterion(z.flatten(0, 1), y.flatten()) if module else functional.cross_entropy(z.transpose(1, 2), y)
        loss.backward()
        optimizer.step()
    watch.remove()
    return recorder.stream


def following(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return tokens[:, :-1], tokens[:, 1:]


def itself(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return tokens[:, 1:], tokens[:, 1:]


def skipped(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = following(tokens)
    return x, torch.cat([y[:, 1:], torch.full_like(y[:, :1], -100)], 1)


def turned(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return tokens[:, 1:], tokens[:, 1:].roll(-1, 1)


def masked_out(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = following(tokens)
    return x, torch.where(torch.arange(LENGTH) < 4, -100, y)


def padded(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return following(torch.where(torch.arange(LENGTH + 1) < 3, tokens, 7))


@pytest.mark.parametrize("module", [True, False])
@pytest.mark.parametrize(
    ("pairs", "same", "after"), [(following, 1 / KINDS, 1.0), (itself, 1.0, 1 / KINDS), (turned, 1 / KINDS, 1 / KINDS)]
)
def test_tokens_asked_for(pairs: Pairs, same: float, after: float, *, module: bool) -> None:
    stream = trained(pairs, module=module)
    assert numbers(stream, "same") == pytest.approx([same] * STEPS, abs=0.08)
    assert numbers(stream, "next") == pytest.approx([after] * STEPS, abs=0.1)


def test_tokens_left_out_of_the_loss_do_not_count() -> None:
    assert numbers(trained(masked_out), "next") == [1.0] * STEPS


@pytest.mark.parametrize("module", [True, False])
def test_tokens_after_the_next(*, module: bool) -> None:
    assert numbers(trained(skipped, module=module), "after_next") == [1.0] * STEPS


def test_padding() -> None:
    stream = trained(padded)
    shares = [1 - 2 / LENGTH * (1 - 1 / KINDS), 1 - 3 / LENGTH * (1 - 1 / KINDS)]
    assert [math.fsum(numbers(stream, s)) / STEPS for s in ("common", "common_given")] == pytest.approx(
        shares, abs=0.05
    )


@pytest.mark.parametrize(("causal", "blind"), [(True, 1.0), (False, 0.0)])
def test_later_keys_without_weight(*, causal: bool, blind: float) -> None:
    stream = trained(following, causal=causal)
    for head in range(2):
        seen = [stream.value(schema.ATTENTION, f"layer.self_attn:{head}", ZERO_SHARE, i) for i in range(STEPS)]
        assert seen == [blind] * STEPS


def numbers(stream: MemoryStream, subject: str) -> list[float]:
    return [stream.value(schema.TOKENS, subject, MEAN, i) for i in range(STEPS)]


class Pair(Reader):
    def forward(self, tokens: torch.Tensor, given: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().forward(tokens) + super().forward(given)


def of_pairs(batches: Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> MemoryStream:
    """A model of two inputs, trained on batches of both and of what is asked for."""
    torch.manual_seed(0)
    model, criterion = Pair(causal=True), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recorder = MemoryRecorder()
    watch = Watch(recorder, model, optimizer, criterion=criterion, every=1)
    for tokens, given, target in batches:
        optimizer.zero_grad()
        criterion(model(tokens, given).transpose(1, 2), target).backward()
        optimizer.step()
    watch.remove()
    return recorder.stream


def random_tokens() -> torch.Tensor:
    return torch.randint(0, KINDS, (SAMPLES, LENGTH))


def test_tokens_that_a_decoder_is_given() -> None:
    targets = [(random_tokens(), shift) for shift in (0, 0, 0, 1, 1, 1)]
    stream = of_pairs((random_tokens(), target.roll(shift, 1), target) for target, shift in targets)
    assert numbers(stream, "same_later") == pytest.approx([1.0] * 3 + [1 / KINDS] * 3, abs=0.08)


@pytest.mark.parametrize("first", [True, False])
def test_tokens_that_come_next_in_the_first_of_two_inputs(*, first: bool) -> None:
    texts = [following(torch.randint(0, KINDS, (SAMPLES, LENGTH + 1))) for _ in range(STEPS)]
    stream = of_pairs((x, random_tokens(), y) if first else (random_tokens(), x, y) for x, y in texts)
    assert numbers(stream, "next") == [1.0] * STEPS
    assert numbers(stream, "next_first") == pytest.approx([1.0 if first else 1 / KINDS] * STEPS, abs=0.08)


@pytest.mark.parametrize("module", [True, False])
def test_entropy_of_all_tokens_asked_for_so_far(module: bool) -> None:
    stream = trained(following, module=module)
    entropies = [stream.value(schema.TOKENS, "entropy", MEAN, i) for i in range(STEPS)]
    assert entropies == pytest.approx([math.log(KINDS)] * STEPS, rel=0.02)
    assert stream.value(schema.TOKENS, "asked", MEAN) == 1


def test_of_hidden_tokens_alone() -> None:
    def hidden(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A quarter of the places, of which three in four ask for token 1 and one for token 2."""
        x, y = tokens[:, 1:], torch.full((SAMPLES, LENGTH), -100)
        y.view(-1)[::4] = 1
        y.view(-1)[::16] = 2
        return x, y

    stream = trained(hidden)
    assert stream.value(schema.TOKENS, "asked", MEAN) == pytest.approx(0.25)
    assert stream.value(schema.TOKENS, "entropy", MEAN) == pytest.approx(0.5623, abs=0.02)


def exchanged(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = following(tokens)
    return x, torch.cat([y[:4], y[4:].roll(1, 0)])


def backwards(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return tokens[:, 1:], tokens[:, :-1]


def few_kinds(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequences that are so few that one comes next in another by chance."""
    return following(tokens % 2 * (torch.arange(LENGTH + 1) > 5))


@pytest.mark.parametrize(
    ("pairs", "share"), [(exchanged, 0.75), (following, 0.0), (itself, 0.0), (masked_out, 0.0), (few_kinds, 0.0)]
)
def test_tokens_that_come_next_in_another_sequence(pairs: Pairs, share: float) -> None:
    assert numbers(trained(pairs), "next_elsewhere") == [share] * STEPS


def test_tokens_that_come_next_in_another_sequence_whose_samples_are_the_second_dimension() -> None:
    given, wanted = exchanged(torch.randint(0, KINDS, (SAMPLES, LENGTH + 1)))
    assert elsewhere(given.t(), wanted.t(), wanted.t() >= 0) == 0.75


def test_tokens_that_came_before() -> None:
    assert numbers(trained(backwards), "before") == [1.0] * STEPS


def test_tokens_are_compared_whatever_the_users_default_device() -> None:
    given, wanted = exchanged(torch.randint(0, KINDS, (600, LENGTH + 1)))
    with torch.device("meta"):
        assert elsewhere(given, wanted, wanted >= 0) == (256 - 4) / 256
