"""Folders of pictures: on this machine, or anywhere that fsspec or pyarrow reach (``s3://bucket/photos``)."""

from __future__ import annotations

import os
import secrets
import stat
import unicodedata
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from pconv.errors import ImageFileError, InputError
from pconv.files import replacing
from pconv.images.codecs import SUFFIXES

_WHOLE_AT_ONCE = frozenset({"memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci"})
"""Stores in which an object appears whole or not at all; elsewhere we write beside it and rename."""


class LocalFolder:
    """A folder on this machine. ``mark`` begins the names of temporary files in it, after a dot.

    Here and in ``UrlFolder``, names of files are relative, with "/" between their parts.
    """

    def __init__(self, path: Path, mark: str = "") -> None:
        self.path, self.mark = path, mark

    @property
    def place(self) -> str:
        return str(self.path)

    def files(self, problem: Callable[[str], None] | None = None) -> dict[str, str]:
        """All visible files below, sorted, and the stamp of each: it changes when the file does. What cannot be
        listed is told to ``problem``, a sentence each."""
        problem = problem or _ignore
        found: dict[str, str] = {}
        self._list(self.path, "", [], found, problem)
        return dict(sorted(found.items()))

    def _list(
        self,
        folder: Path,
        prefix: str,
        above: list[tuple[int, int]],
        found: dict[str, str],
        problem: Callable[[str], None],
    ) -> None:
        """Links to folders are followed, unless they lead back to where they came from."""
        try:
            here = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            problem(f"cannot look into the folder {folder}: {error.strerror or error}")
            return
        if (here.st_dev, here.st_ino) in above:
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                if entry.is_dir():
                    inside = [*above, (here.st_dev, here.st_ino)]
                    self._list(Path(entry.path), f"{prefix}{entry.name}/", inside, found, problem)
                elif entry.is_file():
                    found[prefix + entry.name] = _stamp_of(entry.stat())
                elif entry.is_symlink():
                    problem(f"{entry.path} is a link that leads nowhere")
            except OSError as error:
                problem(f"cannot get to {entry.path}: {error.strerror or error}")

    def read(self, name: str) -> bytes:
        """A file's content; raises ImageFileError."""
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise ImageFileError(f"cannot read {self.path / name}: {error.strerror or error}") from error

    def stamps(self, names: Iterable[str]) -> dict[str, str]:
        """As in ``files``, for those of ``names`` that are there."""
        found = {}
        for name in names:
            try:
                status = (self.path / name).stat()
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                found[name] = _stamp_of(status)
        return found

    def write(self, name: str, content: bytes) -> str:
        """Write a file whole, and return its stamp; folders on the way are made. Raises OSError."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target, self.mark) as temporary:
            temporary.write_bytes(content)
        return _stamp_of(target.stat())


class UrlFolder:
    """A folder at a URL. Its files are read and written whole."""

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/")
        self._open()

    def _open(self) -> None:
        self._system, self._root = _file_system(self.place)
        self._root = self._root.rstrip("/")

    def __getstate__(self) -> dict[str, str]:
        return {"place": self.place}  # a connection does not travel: each process opens its own

    def __setstate__(self, state: dict[str, str]) -> None:
        self.place = state["place"]
        self._open()

    def files(self, _problem: Callable[[str], None] | None = None) -> dict[str, str]:
        try:
            self._system.invalidate_cache()
            listing = self._system.find(self._root, detail=True)
        except FileNotFoundError:
            listing = {}
        except Exception as error:  # each store has its own
            raise InputError(f"cannot list {self.place}: {_told(error)}") from error
        found = {}
        for path, info in listing.items():
            name = str(path)[len(self._root) :].lstrip("/")
            if info.get("type") != "directory" and not any(part.startswith(".") for part in name.split("/")):
                found[name] = _remote_stamp(info)
        return dict(sorted(found.items()))

    def read(self, name: str) -> bytes:
        try:
            content: bytes = self._system.cat_file(f"{self._root}/{name}")
        except Exception as error:
            raise ImageFileError(f"cannot read {self.place}/{name}: {_told(error)}") from error
        return content

    def stamps(self, names: Iterable[str]) -> dict[str, str]:
        wanted = set(names)  # one listing, not a request for each
        return {name: stamp for name, stamp in self.files().items() if name in wanted}

    def write(self, name: str, content: bytes) -> str:
        target = f"{self._root}/{name}"
        try:
            if self.place.partition("://")[0] in _WHOLE_AT_ONCE:
                self._system.pipe_file(target, content)
            else:
                folder, _, last = target.rpartition("/")
                self._system.makedirs(folder, exist_ok=True)
                temporary = f"{folder}/.pconv-{secrets.token_hex(6)}-{last}"
                self._system.pipe_file(temporary, content)
                self._system.mv(temporary, target)
            self._system.invalidate_cache()
            return _remote_stamp(self._system.info(target))
        except OSError:
            raise
        except Exception as error:
            raise OSError(f"{self.place}/{name}: {_told(error)}") from error

    def remove(self, name: str) -> None:
        self._system.rm_file(f"{self._root}/{name}")


Folder = LocalFolder | UrlFolder


def _ignore(_: str) -> None:
    pass


def is_url(place: str | Path) -> bool:
    return "://" in str(place)


def open_folder(place: str | Path, mark: str = "") -> Folder:
    """The folder at a path or URL; one of ``file://`` is a path.

    Raises:
        InputError: no way to reach such a URL; the message says what to install.
    """
    if not is_url(place):
        return LocalFolder(Path(place), mark)
    scheme, _, rest = str(place).partition("://")
    if scheme in ("file", "local"):
        from urllib.parse import unquote

        return LocalFolder(Path(unquote(rest)), mark)
    return UrlFolder(str(place))


def is_image(name: str) -> bool:
    """Whether a file is a photo or a mask by its suffix."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def composed(name: str) -> str:
    """``name`` in one spelling: some systems write an accented letter as one character, some as two."""
    return unicodedata.normalize("NFC", name)


def _stamp_of(status: os.stat_result) -> str:
    """Size and times; the last one tells too of a change that put the time of modification back."""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def _remote_stamp(info: dict[str, Any]) -> str:
    """Size, and the store's hash of the content, or a time where it has none."""
    keys = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")
    value = next((info[key] for key in keys if info.get(key) is not None), "")
    if isinstance(value, datetime):
        value = value.timestamp()
    return f"{info.get('size')}-" + (f"{value:.6f}" if isinstance(value, float) else str(value).strip('"'))


def _file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of ``url`` and the path in it; pyarrow's own S3 and GCS where fsspec's is missing."""
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise InputError(f"{url} is a URL, and reading those needs fsspec: pip install fsspec") from error
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        try:
            from fsspec.implementations.arrow import ArrowFSWrapper
            from pyarrow.fs import FileSystem

            native, path = FileSystem.from_uri(url)
        except Exception as second:
            raise InputError(f"cannot reach {url}: {_told(error)}") from second
        return ArrowFSWrapper(native), path
    except Exception as error:
        raise InputError(f"cannot reach {url}: {_told(error)}") from error
    return system, str(path)


def _told(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
