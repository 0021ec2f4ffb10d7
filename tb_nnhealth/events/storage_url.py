"""URLs of log directories as they are told to people."""

from __future__ import annotations

import re

_PASSWORD = re.compile(r"(?<=://)([^/@:]*):[^/@]*@")
_QUERY = re.compile(r"\?.*$", re.DOTALL)


def displayed(url: str) -> str:
    """``url`` without the password that it may hold: reports are passed on."""
    return _PASSWORD.sub(r"\1@", url)


def without_slash(url: str) -> str:
    """``url`` without slashes at its end, but for those that belong to the protocol."""
    protocol, separator, path = url.partition("://")
    return protocol + separator + (path.rstrip("/") or path[:1])
