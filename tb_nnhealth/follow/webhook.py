"""Alerts to an HTTP address: a POST of the finding as JSON."""

from __future__ import annotations

import http.client
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable

from tb_nnhealth.follow.changes import Change
from tb_nnhealth.follow.way import Delivery
from tb_nnhealth.report.printable import printable

TRIES = 5
FIRST_WAIT = 1.0
"""Seconds before the second try, doubled for each further one."""
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Statuses by which a server says that it has not taken a request, and might later."""


class Webhook:
    """Posts to ``url``.

    A request is sent again only where it surely was not taken: no connection, or a status that says so. A server that
    took it and does not answer in time is not asked again; that an alert comes twice is worse than not knowing.
    """

    name = "webhook"

    def __init__(
        self, url: str, seconds: float = 10.0, wait: Callable[[float], object] | None = None, tries: int = TRIES
    ) -> None:
        self._url, self._seconds, self._tries = url, seconds, tries
        self._wait = wait or threading.Event().wait
        self._open = urllib.request.build_opener(_NoRedirect).open

    @staticmethod
    def checked(url: str) -> str:
        """``url``. Raises ValueError for one that is not of http or https, or names no host."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"expected a URL, http://… or https://…, found {url!r}")
        return url

    def send(self, change: Change) -> Delivery:
        """Posts, and tries again for a bounded time where that can bring no alert twice."""
        delivery = self._post(change)
        for attempt in range(1, self._tries):
            if delivery.may_have_arrived:
                break
            self._wait(FIRST_WAIT * 2 ** (attempt - 1))
            delivery = self._post(change)
        return delivery

    def _post(self, change: Change) -> Delivery:
        request = urllib.request.Request(
            self._url,
            data=json.dumps({"text": text(change), **change.to_json()}, allow_nan=False).encode(),
            headers={
                "Content-Type": "application/json",
                "User-Agent": "nnhealth",
                "Idempotency-Key": change.identity.fingerprint + ("-cleared" if change.what == "cleared" else ""),
            },
            method="POST",
        )
        try:
            self._open(request, timeout=self._seconds).close()  # a body that drips would hold up the alerts behind it
            return Delivery("", True)
        except urllib.error.HTTPError as error:
            told = f"the webhook answered {error.code} {printable(str(error.reason))}"
            return Delivery(told, error.code not in _AGAIN)
        except urllib.error.URLError as error:  # before the request was sent
            return Delivery(f"the webhook cannot be reached: {error.reason}", False)
        except (OSError, http.client.HTTPException) as error:  # behind it
            return Delivery(f"the webhook took the request and did not answer: {type(error).__name__}", True)


def text(change: Change) -> str:
    """One line, which chat services show as it is."""
    finding = change.finding
    where = f" in {finding['subject']}" if finding["subject"] else ""
    what = f"{change.identity.run}: {finding['rule']}{where}"
    if change.what == "cleared":
        return printable(f"cleared: {what}, last at step {finding['last_step']}.")
    return printable(f"{finding['severity']}: {what} from step {finding['first_step']}. {finding['message']}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET of another address."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None
