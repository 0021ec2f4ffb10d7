"""An argument parser that says what is wrong, what was probably meant, and where to read on."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Its sub-parsers are such parsers too. ``error`` leaves the list of all arguments to ``--help``."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n  `{self.prog} --help` tells what there is\n")

    def known(self) -> list[str]:
        """The options of this parser and of its commands."""
        own = [option for action in self._actions for option in action.option_strings]
        groups = (a.choices for a in self._actions if isinstance(a, argparse._SubParsersAction))
        return own + [option for group in groups for parser in group.values() for option in parser.known()]


def parse(parser: Parser, words: Sequence[str], commands: Sequence[str]) -> argparse.Namespace:
    """The arguments in ``words``; exits where they are none."""
    if words and not words[0].startswith("-") and words[0] not in commands:
        parser.error(_no_command(words[0], commands))
    args, left = parser.parse_known_args(words)
    options = [word.partition("=")[0] for word in left if word.startswith("-")]
    if options:
        command = f"nnhealth {words[0]}" if words[0] in commands else "nnhealth"
        parser.error(f"{command} has no argument {options[0]}{_meant(options[0], parser.known())}")
    if left:
        parser.error(f"not expected: {' '.join(left)}")
    return args


def _no_command(word: str, commands: Sequence[str]) -> str:
    if os.path.exists(word) or "://" in word:
        return f"expected a command before {word}, perhaps `nnhealth inspect {word}`"
    return f"expected a command ({', '.join(commands)}), found {word!r}{_meant(word, commands)}"


def _meant(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""
