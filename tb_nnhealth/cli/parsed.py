"""Arguments whose text something of ours understands."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def parsed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """``parse`` for argparse, which shows the message of no ValueError."""

    def checked(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return checked
