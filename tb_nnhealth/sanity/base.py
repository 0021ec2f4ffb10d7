"""The contract of a sanity check: what it says of itself, and how it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tb_nnhealth.checks import CheckResult, Status

if TYPE_CHECKING:
    from tb_nnhealth.sanity.bench import Bench


@dataclass(frozen=True)
class Verdict:
    """A check's own word; ``Check.result`` adds its id."""

    status: Status
    message: str
    evidence: dict[str, Any]
    advice: tuple[str, ...] = ()


def passed(message: str, **evidence: Any) -> Verdict:
    return Verdict("pass", message, evidence)


def skipped(why: str, **evidence: Any) -> Verdict:
    return Verdict("skip", why, evidence)


def warned(message: str, *advice: str, **evidence: Any) -> Verdict:
    return Verdict("warn", message, evidence, advice)


def failed(message: str, *advice: str, **evidence: Any) -> Verdict:
    return Verdict("fail", message, evidence, advice)


@dataclass(frozen=True)
class Check:
    """One check. ``page`` is its part of docs/preflight.md, markdown; its first line is a sentence on what it asks.

    ``run`` may raise whatever the user's model raises: the runner makes a skipped check of it. ``share`` is the part
    of the remaining time that the check may take; a check without training takes what it needs.
    """

    id: str
    page: str
    run: Callable[[Bench], Verdict]
    share: float = 1.0

    @property
    def question(self) -> str:
        """What the check asks: the first line of its page."""
        return self.page.strip().partition("\n")[0]

    def result(self, verdict: Verdict) -> CheckResult:
        return CheckResult(self.id, verdict.status, verdict.message, verdict.evidence, verdict.advice)


class OutOfTimeError(Exception):
    """The time given to a check is spent."""


def described(error: BaseException) -> str:
    """An exception in one sentence."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:400]}" if text else type(error).__name__


def number(value: float) -> str:
    """Three digits, as a person would write them."""
    return f"{value:.3g}"
