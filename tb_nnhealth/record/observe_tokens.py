"""How the tokens asked for lie in the tokens given: the same, the ones that come next, or in another sequence."""

from __future__ import annotations

from typing import Any

import torch

from tb_nnhealth import schema
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.observe_pairing import elsewhere
from tb_nnhealth.record.reduce_readable import plain
from tb_nnhealth.record.reduce_table import Record

RECORDS = 24
"""First measured steps that are looked at: how a program pairs tokens does not change."""
LATER = "same_later"
"""The share that is the same in an input behind the first: what a decoder is given."""
FIRST = "next_first"
"""Of several inputs, the share that comes next in the first: little, where a decoder is given its own behind it."""
_INPUTS = 3
_MOST = 1 << 18
"""Tokens of a batch beyond which it is let be."""
_IGNORED = -100
_MOST_TOKENS = 1 << 18
_SHIFTS = {"next": 1, "after_next": 2, "before": -1}
"""Subjects, and how many places later in the input the token asked for stands."""


class Tokens:
    """Compares the class indices that a criterion is given with the model's inputs of integers of as many elements."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._ignored = _IGNORED
        self._records = 0
        self._inputs: list[Any] = []
        self._found: dict[str, Any] = {}
        self._counts = torch.zeros(0, dtype=torch.int64, device="cpu")
        """Of each token, how often it was asked for in all records."""

    def describe(self, criterion: Any) -> None:
        ignored = getattr(criterion, "ignore_index", _IGNORED)
        self._ignored = ignored if isinstance(ignored, int) else _IGNORED

    def open(self) -> None:
        self._inputs, self._found = [], {}

    def given(self, tensors: list[Any]) -> None:
        """Notes the model's inputs."""
        if self._records < RECORDS:
            self._inputs = [data for tensor in tensors if (data := _tokens(tensor)) is not None][:_INPUTS]

    def asked(self, target: Any) -> None:
        """Compares a criterion's target; of several calls in a step the last counts."""
        inputs, before, self._found = self._inputs, self._found, {}
        wanted = _tokens(target, dims=1) if inputs else None
        if wanted is None:
            return
        for place, tokens in enumerate(inputs):
            if tokens.numel() == wanted.numel() and tokens.device == wanted.device:
                for subject, share in _compared(tokens, wanted.reshape(tokens.shape), self._ignored):
                    self._found[subject] = max(share, self._found.get(subject, 0.0))
                    if place and subject == "same":
                        self._found[LATER] = max(share, self._found.get(LATER, 0.0))
                    if not place and subject == "next":
                        self._found[FIRST] = share
        if self._found and len(inputs) > 1:
            self._found.setdefault(FIRST, 0.0)
        if self._found and (entropy := self._entropy(wanted)) is not None:
            self._found["entropy"] = entropy
        for subject in ("next", FIRST):  # a further head may be asked for the token after
            if subject in self._found and subject in before:
                self._found[subject] = max(self._found[subject], before[subject])

    def _entropy(self, wanted: Any) -> float | None:
        """Of the tokens asked for so far, in nats; with what a sample of n of K kinds lacks, (K - 1) / 2n (Miller)."""
        answers = wanted[(wanted >= 0) & (wanted != self._ignored)].reshape(-1)
        if not answers.numel() or int(answers.max()) >= _MOST_TOKENS:
            return None
        counts = torch.bincount(answers, minlength=len(self._counts))
        counts[: len(self._counts)] += self._counts
        self._counts = counts
        shares = counts[counts > 0].double() / float(counts.sum())
        return float(torch.special.entr(shares).sum()) + (len(shares) - 1) / (2 * float(counts.sum()))

    def write(self, record: Record) -> None:
        if self._found:
            self._records += 1
        for subject, share in self._found.items():
            record.share(self._catalog.row(schema.TOKENS, subject), schema.MEAN, share)
        self.open()


def _tokens(tensor: Any, dims: int = 2) -> Any:
    """The plain tensor, where it holds integers of sequences on the host: elsewhere they would be waited for."""
    data = plain(tensor) if isinstance(tensor, torch.Tensor) else None
    if data is None or data.is_floating_point() or data.is_complex() or data.dtype is torch.bool or not data.is_cpu:
        return None
    return data if dims <= data.dim() <= 2 and 1 < data.numel() <= _MOST else None


def _compared(given: Any, wanted: Any, ignored: int) -> list[tuple[str, float]]:
    """Subjects of the rows and their shares; ``given`` and ``wanted`` int (samples, positions), or turned."""
    counted = (wanted >= 0) & (wanted != ignored)
    total = int(counted.sum())
    if not total:
        return []
    found = [("same", float(((given == wanted) & counted).sum()) / total), ("asked", total / wanted.numel())]
    shifted = dict.fromkeys(_SHIFTS, 0.0)
    for dimension in (0, 1):
        length = wanted.shape[dimension]
        if length < 3:
            continue
        rolled = given.select(dimension, 0) == wanted.select(dimension, length - 1)
        if bool(rolled.all()):  # the whole sequence, turned by one: all of it is there to be seen
            continue
        for subject, by in _SHIFTS.items():
            begin, count = max(0, -by), length - abs(by)
            there, now = given.narrow(dimension, max(0, by), count), wanted.narrow(dimension, begin, count)
            seen = counted.narrow(dimension, begin, count)
            shifted[subject] = max(shifted[subject], float(((there == now) & seen).sum()) / max(1, int(seen.sum())))
    found += [*shifted.items(), ("next_elsewhere", elsewhere(given, wanted, counted))]
    answers = wanted[counted]
    if int(answers.max()) < _MOST_TOKENS:
        counts = torch.bincount(answers.reshape(-1))
        most = int(counts.argmax())
        found += [("common", int(counts[most]) / total), ("common_given", float((given == most).float().mean()))]
    return found
