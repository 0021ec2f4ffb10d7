"""What goes wrong with a storage elsewhere: what is worth another try, and what a user is told of the rest."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

TRIES = 3
FIRST_PAUSE = 0.5
"""Seconds before the second try; each further pause is twice as long, give or take a half."""
SECONDS = 10.0
"""After which no further try is begun: drivers try again by themselves, and their pauses would be multiplied."""
_NOT_PASSING = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)
_PASSING = (errno.EIO, errno.EBUSY, errno.EAGAIN, errno.EPIPE, errno.ETIMEDOUT, errno.ENETUNREACH, errno.ECONNABORTED)
_DRIVERS = ("aiohttp", "botocore", "aiobotocore", "gcsfs", "requests", "urllib3", "paramiko", "azure")
_PASSING_NAMES = ("Timeout", "Connection", "Disconnect", "Payload", "IncompleteRead", "SlowDown", "Throttl")

T = TypeVar("T")


def retried(call: Callable[[], T], path: str, pause: Callable[[float], None] = time.sleep) -> T:
    """``call()``, up to ``TRIES`` times while it fails for what may pass. Raises OSError, whatever the driver does."""
    begun = time.monotonic()
    for attempt in range(TRIES):
        try:
            return call()
        except Exception as error:
            late = time.monotonic() - begun > SECONDS
            if attempt == TRIES - 1 or late or not passing(error):
                raise as_os_error(error, path, attempt + 1) from error
        pause(FIRST_PAUSE * 2**attempt * random.uniform(0.5, 1.5))
    raise AssertionError("the last try returns or raises")


def passing(error: BaseException) -> bool:
    """Whether the same call may succeed in a moment: connections, timeouts, a service that is busy."""
    if isinstance(error, _NOT_PASSING):
        return False
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    status = _status(error)
    if status is not None:
        return status == 429 or status >= 500
    if isinstance(error, OSError) and error.errno in _PASSING:
        return True
    kind = type(error)
    return kind.__module__.partition(".")[0] in _DRIVERS and any(name in kind.__name__ for name in _PASSING_NAMES)


def as_os_error(error: BaseException, path: str, tries: int = 1) -> OSError:
    """``error``, met after ``tries`` tries, as an OSError whose ``strerror`` tells a user what to do."""
    said = _said(error)
    kind = type(error).__name__
    if "Credentials" in kind or "RefreshError" in kind:
        how = "set them as for the service's own tools (s3://: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws)"
        return PermissionError(errno.EACCES, f"no access: no credentials were found; {how}: {said}", path)
    if isinstance(error, PermissionError) or _status(error) in (401, 403):
        return PermissionError(errno.EACCES, f"no access: {said}; check the credentials and what they allow", path)
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, f"not there: {said}", path)
    if isinstance(error, NotADirectoryError):
        return error
    code = error.errno if isinstance(error, OSError) and error.errno else errno.EIO
    return OSError(code, f"{said} (after {tries} tries)" if tries > 1 else said, path)


def _said(error: BaseException) -> str:
    told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(str(told).split()) or type(error).__name__


def _status(error: BaseException | None) -> int | None:
    """HTTP's status, where the driver tells it."""
    while error is not None:
        response: Any = getattr(error, "response", None)
        if isinstance(response, dict):
            response = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if isinstance(response, int):
                return response
        for name in ("status", "code", "status_code"):
            status = getattr(error, name, None)
            if isinstance(status, int) and 100 <= status < 600:
                return status
        error = error.__cause__
    return None
