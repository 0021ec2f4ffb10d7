"""WSGI applications: answers as JSON or bytes, marked with the state of the log; the frontend's files."""

from __future__ import annotations

import contextlib
import functools
import gzip
import json
import logging
import re
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tensorboard import errors, plugin_util
from tensorboard.backend import http_util, json_util
from werkzeug import wrappers

from tb_nnhealth.plugin import parameters
from tb_nnhealth.plugin.binary import pack
from tb_nnhealth.plugin.kept import KeptReplies, Reply

STATIC = Path(__file__).parent / "static"
STATIC_FILES = {"index.js": "application/javascript", "index.css": "text/css", "licences.txt": "text/plain"}
PART = re.compile(r"[A-Za-z]+-[A-Z0-9]+\.js")
"""Name of a part of the frontend; it changes with the content."""
WORTH_PACKING = 1500
"""Bytes from which a reply is compressed: one packet holds less."""
FOREVER = 365 * 86400
"""Seconds for which a browser may keep a file whose name changes with its content."""
PACKING = 1
"""gzip's least effort: half the time of the third, and 3 % more bytes."""
_STATE, _KEPT = "nnhealth.state", "nnhealth.kept"

logger = logging.getLogger(__name__)

Answer = Callable[[Any], Any]
"""What a route answers to a request: an object for JSON, or a whole response."""


class UnchangedError(Exception):
    """The asker already has the answer: the log is as it was then."""


class KeptError(Exception):
    """The answer has been made before, for somebody else: the log is as it was then."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply


def unchanged_since(request: Any, state: str) -> None:
    """Marks the answer as made from ``state``.

    Raises UnchangedError where the asker has the answer made from it, KeptError where this process has it.
    """
    request.environ[_STATE] = state
    if request.if_none_match.contains(state):
        raise UnchangedError
    reply = request.environ[_KEPT](state)
    if reply is not None:
        raise KeptError(reply)


def route(answer: Answer, coarse: Iterable[str] = ()) -> Any:
    """A WSGI application that answers GET with JSON or, asked ``as=binary``, in bytes; what it cannot it tells in text.

    Arrays of the names in ``coarse`` are rounded in bytes.
    """
    kept = KeptReplies()

    @wrappers.Request.application
    def application(request: Any) -> Any:
        if request.method not in ("GET", "HEAD"):
            return http_util.Respond(
                request, "Only GET is answered here.", "text/plain", code=405, headers=[("Allow", "GET")]
            )
        if len(request.query_string) > parameters.QUERY_BYTES:
            raise errors.InvalidArgumentError(
                f"expected a query of at most {parameters.QUERY_BYTES} bytes, found {len(request.query_string)}"
            )
        asked = plugin_util.experiment_id(request.environ), request.query_string
        request.environ[_KEPT] = lambda state: kept.get((*asked, state))
        try:
            content = answer(request)
            if isinstance(content, wrappers.Response):
                return content
            reply = _reply(request, content, coarse)
            kept.put((*asked, request.environ[_STATE]), reply)
            return _response(request, reply)
        except UnchangedError:
            return _unchanged(request.environ[_STATE], "application/json")
        except KeptError as known:
            return _response(request, known.reply)
        except errors.PublicError:
            raise
        except Exception:
            logger.exception("nnhealth: no answer to %s", request.path)
            sentence = "This is a fault of the NN Health plugin; TensorBoard's log has the details."
            return http_util.Respond(request, sentence, "text/plain", code=500)

    return application


def _reply(request: Any, content: Any, coarse: Iterable[str]) -> Reply:
    binary = request.args.get("as") == "binary"
    said = b""
    if _STATE not in request.environ or not binary:
        said = _json(content)
    if _STATE not in request.environ:  # made of many runs: what it says is its state
        unchanged_since(request, f"{zlib.crc32(said):08x}")
    data, mime = (pack(content, coarse), "application/octet-stream") if binary else (said, "application/json")
    if len(data) > WORTH_PACKING:
        return Reply(gzip.compress(data, PACKING, mtime=0), mime, "gzip")
    return Reply(data, mime, None)


def _json(content: Any) -> bytes:
    """As TensorBoard writes JSON: what is not finite in it is a text."""
    try:
        said = json.dumps(content, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError):
        said = json.dumps(json_util.Cleanse(content, "utf-8"), separators=(",", ":"))
    return said.encode("ascii")


def _response(request: Any, reply: Reply) -> Any:
    state = request.environ.get(_STATE)
    headers = [] if state is None else [_tag(state)]
    return http_util.Respond(request, reply.data, reply.mime, content_encoding=reply.encoding, headers=headers)


def _unchanged(state: str, mime: str) -> Any:
    headers = [_tag(state), ("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-cache")]
    return wrappers.Response(status=304, headers=headers, content_type=mime)


def _tag(state: str) -> tuple[str, str]:
    return "ETag", f'"{state}"'


def part_route() -> Any:
    """A WSGI application for the modules of the frontend that are fetched when a view is opened."""

    @wrappers.Request.application
    def application(request: Any) -> Any:
        name = request.path.rpartition("/parts/")[2]
        if not PART.fullmatch(name):
            raise errors.NotFoundError("expected the name of a part of NN Health's frontend")
        try:
            content = _packed(STATIC / "parts" / name)
        except OSError:
            raise errors.NotFoundError(f"no such part of NN Health's frontend: {name}; reload the page") from None
        return http_util.Respond(request, content, "application/javascript", expires=FOREVER, content_encoding="gzip")

    return application


def static_route(name: str, mime: str) -> Any:
    """A WSGI application for one file of the built frontend, sent once to a browser that keeps it."""

    @wrappers.Request.application
    def application(request: Any) -> Any:
        try:
            content = _packed(STATIC / name)
        except OSError:
            raise errors.NotFoundError(
                f"{name} of NN Health is not built; run `npm ci && npm run build` in the folder frontend, "
                "or install a released package"
            ) from None
        state = f"{zlib.crc32(content):08x}"
        if request.if_none_match.contains(state):
            return _unchanged(state, mime)
        return http_util.Respond(request, content, mime, content_encoding="gzip", headers=[_tag(state)])

    return application


def _packed(path: Path) -> bytes:
    state = path.stat()
    return _packed_once(path, (state.st_mtime_ns, state.st_size))


@functools.lru_cache(maxsize=32)
def _packed_once(path: Path, _state: object) -> bytes:
    """Compressed once and not for each page: five files are asked for at the moment in which a tab opens."""
    return gzip.compress(path.read_bytes(), mtime=0)


def pack_frontend() -> None:
    """Makes the frontend's files ready to be sent."""
    for path in (*(STATIC / name for name in STATIC_FILES), *sorted((STATIC / "parts").glob("*.js"))):
        with contextlib.suppress(OSError):
            _packed(path)
