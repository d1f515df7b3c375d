"""Folders of images: on this machine, or wherever fsspec or pyarrow reach (``s3://bucket/photos``)."""

from __future__ import annotations

import os
import secrets
import stat
import time
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from pconv.errors import ImageFileError, InputError
from pconv.files import replacing
from pconv.images.codecs import SUFFIXES

_ATOMIC = frozenset({"memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci"})
"""Stores in which an object appears whole or not at all; elsewhere a temporary file is written and renamed."""

_LOCK_SECONDS = 3.0
"""How long to wait for a lock: a run that removes temporary files holds those of other runs for a moment."""

_PART_LINES, _PART_SECONDS = 1000, 15.0
"""When lines are written to a store that cannot append."""


class LineFile(Protocol):
    """A file of lines that is being written."""

    def add(self, line: str) -> None: ...
    def close(self) -> None: ...


class Folder(ABC):
    """A folder of files. The names of its files are relative to it, with "/" between their parts.

    A file's stamp is a text that changes when the file does: its size and times, or a store's hash of its content.

    Attributes:
        place: its path or URL, for messages.
    """

    place: str

    @property
    @abstractmethod
    def absolute(self) -> str:
        """The same text for every spelling of this folder's path, to compare folders."""

    @abstractmethod
    def files(self, problem: Callable[[str], None] = lambda _: None) -> dict[str, str]:
        """All visible files below with their stamps, sorted; ``problem`` gets a sentence on what cannot be listed."""

    @abstractmethod
    def top_files(self) -> list[str]:
        """The names of the files at the top; empty for a folder that does not exist."""

    @abstractmethod
    def stamps(self, names: Iterable[str]) -> dict[str, str]:
        """The stamps of those of ``names`` that exist."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A file's content. Raises ImageFileError."""

    @abstractmethod
    def write(self, name: str, content: bytes, prefix: str = "pconv-") -> str:
        """Write a file, which appears whole or not at all, and return its stamp; missing folders are made.

        Args:
            name: the file.
            content: what it will hold.
            prefix: begins the name of the temporary file, after a dot.

        Raises:
            OSError: it cannot be written.
        """

    @abstractmethod
    def append(self, stem: str, first: str) -> LineFile:
        """Open ``stem``.jsonl, or a file with a longer name, and add the line ``first``.

        Raises:
            InputError: another process writes to it.
            OSError: it cannot be written.
        """

    @abstractmethod
    def lock(self, name: str) -> AbstractContextManager[bool]:
        """Lock a file that ``append`` wrote while the block runs; False if another process writes to it."""

    @abstractmethod
    def remove_temporary(self, folders: Iterable[str], prefixes: tuple[str, ...]) -> int:
        """Remove temporary files with these prefixes directly in ``folders``; return how many."""


class LocalFolder(Folder):
    """A folder on this machine."""

    def __init__(self, path: Path) -> None:
        self.path, self.place = path, str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return LocalFolder, (self.path.absolute(),)  # another process may have another working directory

    @property
    def absolute(self) -> str:
        return os.path.realpath(self.path)

    def files(self, problem: Callable[[str], None] = lambda _: None) -> dict[str, str]:
        return dict(sorted(_walk(self.path, "", [], problem)))

    def top_files(self) -> list[str]:
        return [path.name for path in _entries(self.path)]

    def stamps(self, names: Iterable[str]) -> dict[str, str]:
        found = {}
        for name in names:
            with suppress(OSError):
                status = (self.path / name).stat()
                if stat.S_ISREG(status.st_mode):
                    found[name] = _local_stamp(status)
        return found

    def read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise ImageFileError(f"cannot read {self.path / name}: {error.strerror or error}") from error

    def write(self, name: str, content: bytes, prefix: str = "pconv-") -> str:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target, prefix) as temporary:
            temporary.write_bytes(content)
        return _local_stamp(target.stat())

    def append(self, stem: str, first: str) -> LineFile:
        self.path.mkdir(parents=True, exist_ok=True)
        return _LocalLines(self.path / f"{stem}.jsonl", first)

    @contextmanager
    def lock(self, name: str) -> Iterator[bool]:
        with (self.path / name).open("rb") as file:
            yield _lock(file, 0)

    def remove_temporary(self, folders: Iterable[str], prefixes: tuple[str, ...]) -> int:
        hidden = tuple("." + prefix for prefix in prefixes)
        found = [path for folder in folders for path in _entries(self.path / folder) if path.name.startswith(hidden)]
        for path in found:
            path.unlink(missing_ok=True)
        return len(found)


class UrlFolder(Folder):
    """A folder at a URL. Its files are read and written whole. Nothing in it can be locked or appended to."""

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/")
        self._system, root = _file_system(self.place)
        self._root = root.rstrip("/")

    def __reduce__(self) -> tuple[Any, ...]:
        return UrlFolder, (self.place,)  # each process opens a connection of its own

    @property
    def absolute(self) -> str:
        return self.place

    def files(self, problem: Callable[[str], None] = lambda _: None) -> dict[str, str]:  # noqa: ARG002
        try:
            self._system.invalidate_cache()
            listing = self._system.find(self._root, detail=True)
        except FileNotFoundError:
            listing = {}
        except Exception as error:  # each store has its own
            raise InputError(f"cannot list {self.place}: {_one_line(error)}") from error
        found = {}
        for path, info in listing.items():
            name = str(path)[len(self._root) :].lstrip("/")
            if info.get("type") != "directory" and not any(part.startswith(".") for part in name.split("/")):
                found[name] = _remote_stamp(info)
        return dict(sorted(found.items()))

    def top_files(self) -> list[str]:
        return [name for name in self.files() if "/" not in name]

    def stamps(self, names: Iterable[str]) -> dict[str, str]:
        wanted = set(names)  # one listing, not a request for each
        return {name: stamp for name, stamp in self.files().items() if name in wanted}

    def read(self, name: str) -> bytes:
        try:
            content: bytes = self._system.cat_file(f"{self._root}/{name}")
        except Exception as error:
            raise ImageFileError(f"cannot read {self.place}/{name}: {_one_line(error)}") from error
        return content

    def write(self, name: str, content: bytes, prefix: str = "pconv-") -> str:
        target = f"{self._root}/{name}"
        try:
            if self.place.partition("://")[0] in _ATOMIC:
                self._system.pipe_file(target, content)
            else:
                folder, _, last = target.rpartition("/")
                self._system.makedirs(folder, exist_ok=True)
                temporary = f"{folder}/.{prefix}{secrets.token_hex(6)}-{last}"
                self._system.pipe_file(temporary, content)
                self._system.mv(temporary, target)
            self._system.invalidate_cache()
            return _remote_stamp(self._system.info(target))
        except OSError:
            raise
        except Exception as error:
            raise OSError(f"{self.place}/{name}: {_one_line(error)}") from error

    def remove(self, name: str) -> None:
        self._system.rm_file(f"{self._root}/{name}")

    def append(self, stem: str, first: str) -> LineFile:
        return _LinesInParts(self, stem, first)

    @contextmanager
    def lock(self, name: str) -> Iterator[bool]:  # noqa: ARG002
        yield False

    def remove_temporary(self, folders: Iterable[str], prefixes: tuple[str, ...]) -> int:  # noqa: ARG002
        return 0  # without locks, a temporary file may be another run's


class _LocalLines:
    """A file that one process at a time adds whole lines to."""

    def __init__(self, path: Path, first: str) -> None:
        self._file = path.open("a+b", buffering=0)
        if not _lock(self._file, _LOCK_SECONDS):
            self._file.close()
            raise InputError(
                f"another run is writing to {path.parent} ({path.name} is locked): wait for it, or give each process "
                f"its part with --shard"
            )
        torn = False  # by a run that was killed in the middle of a line
        if self._file.seek(0, os.SEEK_END):
            self._file.seek(-1, os.SEEK_END)
            torn = self._file.read(1) != b"\n"
        self.add("\n" + first if torn else first)

    def add(self, line: str) -> None:
        content = (line + "\n").encode()
        while content:
            content = content[self._file.write(content) :]

    def close(self) -> None:
        with suppress(OSError):  # some file systems cannot
            os.fsync(self._file.fileno())
        self._file.close()


class _LinesInParts:
    """Lines in a store that cannot append: files of some lines, joined to one when it is closed.

    Nothing is written if no line follows the first.
    """

    def __init__(self, folder: UrlFolder, stem: str, first: str) -> None:
        self._folder = folder
        self._stem = f"{stem}.{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(4)}"
        self._lines = [first]
        self._parts: list[str] = []
        self._waiting: list[str] = []
        self._written = time.monotonic()

    def add(self, line: str) -> None:
        self._waiting.append(line)
        if len(self._waiting) >= _PART_LINES or time.monotonic() - self._written > _PART_SECONDS:
            part = f"{self._stem}.{len(self._parts):06d}.jsonl"
            self._folder.write(part, ("\n".join(self._waiting) + "\n").encode())
            self._parts.append(part)
            self._lines += self._waiting
            self._waiting, self._written = [], time.monotonic()

    def close(self) -> None:
        lines = [*self._lines, *self._waiting]
        if len(lines) > 1:
            self._folder.write(f"{self._stem}.jsonl", ("\n".join(lines) + "\n").encode())
        for part in self._parts:
            self._folder.remove(part)


def open_folder(place: str | Path) -> Folder:
    """The folder at a path or URL; one of ``file://`` is a path.

    Raises:
        InputError: no way to reach such a URL; the message says what to install.
    """
    scheme, separator, rest = str(place).partition("://")
    if not separator:
        return LocalFolder(Path(place))
    if scheme in ("file", "local"):
        from urllib.parse import unquote

        return LocalFolder(Path(unquote(rest)))
    return UrlFolder(str(place))


def is_image(name: str) -> bool:
    """Whether a file is a photo or a mask by its suffix."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def normalised(name: str) -> str:
    """``name`` in one spelling: some systems write an accented letter as one character, some as two."""
    return unicodedata.normalize("NFC", name)


def _walk(
    folder: Path, prefix: str, above: list[tuple[int, int]], problem: Callable[[str], None]
) -> Iterator[tuple[str, str]]:
    """Visible files with their stamps. Links to folders are followed, but not back to a folder they lie in."""
    try:
        here = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        problem(f"cannot look into the folder {folder}: {error.strerror or error}")
        return
    identity = (here.st_dev, here.st_ino)
    if identity in above:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            if entry.is_dir():
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", [*above, identity], problem)
            elif entry.is_file():
                yield prefix + entry.name, _local_stamp(entry.stat())
            elif entry.is_symlink():
                problem(f"{entry.path} is a link that leads nowhere")
        except OSError as error:
            problem(f"cannot get to {entry.path}: {error.strerror or error}")


def _entries(folder: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError, NotADirectoryError):
        yield from folder.iterdir()


def _lock(file: IO[bytes], seconds: float) -> bool:
    """Whether this process now has ``file`` for itself, until it is closed or the process ends."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows: two runs beside each other do the same work twice
        return True
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.05)
        except OSError:  # a file system without locks
            return True
        else:
            return True


def _local_stamp(status: os.stat_result) -> str:
    """Size and times. The last time also shows a change after which the time of modification was put back."""
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
            raise InputError(f"cannot reach {url}: {_one_line(error)}") from second
        return ArrowFSWrapper(native), path
    except Exception as error:
        raise InputError(f"cannot reach {url}: {_one_line(error)}") from error
    return system, str(path)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
