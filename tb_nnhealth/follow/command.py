"""Alerts to a command of the user's: the finding as JSON on its standard input, and in its environment."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from typing import IO

from tb_nnhealth.follow.changes import Change
from tb_nnhealth.follow.way import Delivery
from tb_nnhealth.report.printable import printable

ENVIRONMENT_CHARACTERS = 4096
"""Of one variable; the whole stands on standard input."""
ERROR_BYTES = 500
"""Of what a command that failed wrote to its standard error, from its end."""


class Command:
    """Runs ``argv`` for each alert, never through a shell: what a log holds is never part of a command line."""

    name = "exec"

    def __init__(self, argv: Sequence[str], seconds: float = 30.0) -> None:
        self._argv, self._seconds = list(argv), seconds

    @staticmethod
    def parsed(text: str) -> list[str]:
        """The words of a command line. Raises ValueError where there are none, or quotes do not match."""
        words = shlex.split(text)
        if not words:
            raise ValueError("expected a command, found nothing")
        return words

    def send(self, change: Change) -> Delivery:
        """Runs the command to its end, for at most ``seconds``; one that fails may have done its work before."""
        told = json.dumps(change.to_json(), allow_nan=False).encode()
        with tempfile.TemporaryFile() as errors:
            try:
                process = subprocess.Popen(
                    self._argv,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    env={**os.environ, **environment(change)},
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                return Delivery(f"{self._argv[0]}: {getattr(error, 'strerror', None) or error}", False)
            try:
                process.communicate(told, timeout=self._seconds)
            except subprocess.TimeoutExpired:
                _kill(process)
                return Delivery(f"{self._argv[0]} ran longer than {self._seconds:g} s and was ended", True)
            except BaseException:
                _kill(process)
                raise
            if not process.returncode:
                return Delivery("", True)
            return Delivery(f"{self._argv[0]} exited with {process.returncode}{_last_line(errors)}", True)


def _last_line(errors: IO[bytes]) -> str:
    """What the command said last on its standard error: it would tear up a screen that is drawn."""
    errors.seek(-min(errors.seek(0, os.SEEK_END), ERROR_BYTES), os.SEEK_END)
    lines = errors.read().decode("utf-8", "replace").strip().splitlines()
    return f": {printable(lines[-1])}" if lines else ""


def environment(change: Change) -> dict[str, str]:
    """``NNHEALTH_…`` for a command, its values of one line."""
    finding = change.finding
    told = {
        "EVENT": change.what,
        "FINGERPRINT": change.identity.fingerprint,
        "RUN": change.identity.run,
        "RULE": finding["rule"],
        "SEVERITY": finding["severity"],
        "SUBJECT": finding["subject"],
        "STEP": str(finding["first_step"]),
        "MESSAGE": finding["message"],
    }
    return {f"NNHEALTH_{name}": printable(value)[:ENVIRONMENT_CHARACTERS] for name, value in told.items()}


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends the command and all that it has started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
