"""Event files in buckets and on other machines: any URL that fsspec knows, ``s3://``, ``gs://``, ``ssh://``, ...

Credentials and endpoints are found as the driver finds them: environment variables, its own configuration files, and
``~/.config/fsspec``. Nothing is written. A link on another machine is not followed: where it leads cannot be told.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any

from tb_nnhealth.events.storage import LOCAL, Entry, Stamp, Storage
from tb_nnhealth.events.storage_errors import as_os_error, retried
from tb_nnhealth.events.storage_url import displayed, without_slash
from tb_nnhealth.events.walk import is_event_file

_HERE = ("file", "local")
_VERSIONS = ("ETag", "etag", "md5Hash", "generation", "crc32c", "content_hash")
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "modified", "modificationTime", "timeCreated", "created")


def storage_of(place: str) -> tuple[Storage, str]:
    """Where ``place``, a path or URL as a user writes it, lies: the storage, and the path there.

    Raises OSError for a URL that cannot be used here, saying what is missing.
    """
    protocol, separator, path = place.partition("://")
    if not separator:
        return LOCAL, place
    if protocol in _HERE:
        return LOCAL, path
    storage = FsspecStorage(place)
    return storage, storage.url


class FsspecStorage:
    """The storage at ``url``; its paths are URLs that begin with ``self.url``, which holds no password.

    A listing is kept until ``renew``: an object store tells all below a prefix in a call for each thousand names,
    with size and entity tag, so that no file is asked for singly.
    """

    remote = True

    def __init__(self, url: str) -> None:
        self._given = url
        self._files, self._root = _opened(url)
        # One connection for all threads: a driver without a loop of its own, such as sftp's, may mix up their answers.
        self._turn: AbstractContextManager[Any] = nullcontext() if _has_loop(self._files) else threading.Lock()
        self.shared = not url.startswith("memory://")
        self.url = displayed(without_slash(url))
        self._directories: dict[str, list[Entry]] = {}
        self._stamps: dict[str, Stamp] = {}

    def __reduce__(self) -> tuple[type[FsspecStorage], tuple[str]]:
        return FsspecStorage, (self._given,)

    def renew(self, directory: str) -> None:
        self._files.invalidate_cache()
        for known in (self._directories, self._stamps):
            for path in [path for path in known if self.contains(directory, path)]:
                del known[path]

    def entries(self, directory: str) -> list[Entry]:
        if directory not in self._directories:
            self._list(directory)
        return self._directories[directory]

    def size(self, path: str) -> int:
        return self.stamp(path).size

    def stamp(self, path: str) -> Stamp:
        if path not in self._stamps:
            found = self._asked(lambda: self._files.info(self._inner(path)), path)
            if found["type"] != "file":
                raise OSError(errno.EINVAL, "not a regular file", path)
            self._stamps[path] = _stamp(found)
        return self._stamps[path]

    def read_into(self, memory: memoryview, path: str, offset: int) -> int:
        inner, end = self._inner(path), offset + len(memory)
        data = self._asked(lambda: self._files.cat_file(inner, start=offset, end=end), path)[: len(memory)]
        memory[: len(data)] = data
        return len(data)

    def join(self, directory: str, name: str) -> str:
        return f"{directory}/{name}"

    def real(self, path: str) -> str:
        return path

    def identity(self, directory: str) -> Hashable:
        return directory

    def contains(self, directory: str, path: str) -> bool:
        return path == directory or path.startswith(directory + "/")

    def _inner(self, url: str) -> str:
        """What fsspec calls the file: a key may hold anything, so nothing but the beginning is exchanged."""
        return self._root + url[len(self.url) :]

    def _asked(self, call: Callable[[], Any], path: str) -> Any:
        with self._turn:
            return retried(call, path)

    def _list(self, directory: str) -> None:
        inner = self._inner(directory)
        if _lists_all_below(self._files):
            found = self._asked(lambda: self._files.find(inner, detail=True), directory)
            self._keep_all(directory, inner, found)
        else:
            listed = self._asked(lambda: self._files.ls(inner, detail=True), directory)
            if [info["type"] for info in listed if info["name"].rstrip("/") == inner.rstrip("/")] == ["file"]:
                raise NotADirectoryError(errno.ENOTDIR, "Not a directory", directory)
            self._directories[directory] = sorted(self._kept(directory, listed), key=lambda entry: entry.name)

    def _kept(self, directory: str, listed: Iterable[Mapping[str, Any]]) -> Iterable[Entry]:
        for info in listed:
            name, kind = info["name"].rstrip("/").rpartition("/")[2], info["type"]
            if kind == "file":
                self._stamps[self.join(directory, name)] = _stamp(info)
            if kind in ("file", "directory"):
                yield Entry(name, kind == "directory", False)

    def _keep_all(self, directory: str, inner: str, found: Mapping[str, Mapping[str, Any]]) -> None:
        """Makes directories of the keys below a prefix; of a bucket full of other things only event files are kept."""
        inside: dict[str, dict[str, bool]] = {directory: {}}
        if inner in found:
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory", directory)
        for key, info in found.items():
            names = key[len(inner) :].removeprefix("/").split("/")
            if info["type"] != "file" or not is_event_file(names[-1]):
                continue
            path = directory
            for place, name in enumerate(names):
                is_directory = place < len(names) - 1
                inside[path][name] = inside[path].get(name, False) or is_directory
                path = self.join(path, name)
                if is_directory:
                    inside.setdefault(path, {})
            self._stamps[path] = _stamp(info)
        for path, names_in in inside.items():
            self._directories[path] = [Entry(name, is_dir, False) for name, is_dir in sorted(names_in.items())]


def _opened(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path there."""
    protocol = url.partition("://")[0]
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise OSError(errno.ENOSYS, "needs fsspec: pip install 'tb-nnhealth[remote]'", displayed(url)) from error
    try:
        files, root = url_to_fs(without_slash(url), skip_instance_cache=True, **_options(protocol))
    except ImportError as error:
        ours = "; for s3:// and gs://: pip install 'tb-nnhealth[remote]'"
        what = f"the driver for {protocol}:// is not installed: {error}{ours}"
        raise OSError(errno.ENOSYS, what, displayed(url)) from error
    except Exception as error:  # whatever a driver makes of a host, a password, or a configuration
        raise as_os_error(error, displayed(url)) from error
    return files, root


def _options(protocol: str) -> dict[str, Any]:
    """Without a cache of listings; drivers that have none may hand on whatever they are given (sftp's does)."""
    from fsspec import get_filesystem_class
    from fsspec.asyn import AsyncFileSystem

    try:
        caches = issubclass(get_filesystem_class(protocol), AsyncFileSystem)
    except ValueError:  # nobody knows the protocol, as opening will say
        return {}
    return {"use_listings_cache": False} if caches else {}


def _has_loop(files: Any) -> bool:
    from fsspec.asyn import AsyncFileSystem

    return isinstance(files, AsyncFileSystem)


def _lists_all_below(files: Any) -> bool:
    """Whether the driver has a way of its own to list all below a prefix, other than directory by directory."""
    from fsspec import AbstractFileSystem
    from fsspec.asyn import AsyncFileSystem

    kind = type(files)
    if isinstance(files, AsyncFileSystem):
        return kind._find is not AsyncFileSystem._find
    return bool(kind.find is not AbstractFileSystem.find)


def _stamp(info: Mapping[str, Any]) -> Stamp:
    modified = next((_seconds(info[key]) for key in _TIMES if info.get(key)), 0.0)
    version = next((str(info[key]) for key in _VERSIONS if info.get(key)), str(modified) if modified else "")
    return Stamp(int(info.get("size") or 0), version, modified)


def _seconds(time: Any) -> float:
    try:
        if isinstance(time, str):
            time = datetime.fromisoformat(time.replace("Z", "+00:00"))
        return float(time.timestamp()) if isinstance(time, datetime) else float(time)
    except ValueError:
        return 0.0
