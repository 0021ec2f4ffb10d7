"""What several rules ask alike of one run is worked out once in a judgement."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from tb_nnhealth.history import History, Run

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")

_answers: ContextVar[dict[Hashable, Any] | None] = ContextVar("answers", default=None)
"""Of the judgement under way: by function and what it was asked of, the answer."""


@contextmanager
def one_judgement() -> Iterator[None]:
    """Runs and histories neither change nor go inside; answers are let go of at its end."""
    token = _answers.set({})
    try:
        yield
    finally:
        _answers.reset(token)


def once(function: Callable[Asked, Answer]) -> Callable[Asked, Answer]:
    """``function`` of runs and histories, asked once of each in a judgement, and anew each time outside of one.

    What it returns is shared: who is given it does not write to it.
    """

    @wraps(function)
    def asked(*of: Asked.args, **named: Asked.kwargs) -> Answer:
        answers = _answers.get()
        if answers is None:
            return function(*of, **named)
        key = (function, *map(_same, of), *named.items())
        if key not in answers:
            answers[key] = function(*of, **named)
        answer: Answer = answers[key]
        return answer

    return asked


def _same(thing: Any) -> Hashable:
    return id(thing) if isinstance(thing, (Run, History)) else thing
