"""What to say where the library of an integration is not installed."""

from __future__ import annotations


def missing(library: str, extra: str, error: ImportError) -> ImportError:
    """The error to raise from ``error``, met while importing ``library``; our ``extra`` brings it."""
    return ImportError(
        f"tb_nnhealth.integrations.{extra} needs {library}, which could not be imported ({error}); "
        f"install it: pip install 'tb-nnhealth[{extra}]'",
        name=library,
    )
