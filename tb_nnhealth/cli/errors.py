"""How a command says that it could not do its work."""

from __future__ import annotations

import sys

FAILED = 2
"""Exit status of a usage or read error that left nothing done."""
WHERE_LOGS_ARE = """
  event files have tfevents in their names; name the directory that the SummaryWriter was given, or one above it"""
"""For a place where none are."""


def failed(message: str) -> int:
    """Tells ``message``, a sentence for the user, and gives the exit status."""
    print(f"nnhealth: {message}", file=sys.stderr)
    return FAILED
