"""Writing files so that nobody ever finds half of one, and telling files apart."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(target: Path, mark: str = "") -> Iterator[Path]:
    """A temporary path beside ``target`` to write to; it takes the target's place when the block ends well.

    The temporary file has the target's suffix, and is removed if the block raises. An existing target keeps its
    permissions; a link is followed, so that what it points to is replaced and not the link. Its name begins with "."
    and ``mark``, by which what a killed process left can be found.
    """
    with replacing_together([target], mark) as (temporary,):
        yield temporary


@contextmanager
def replacing_together(targets: Sequence[Path], mark: str = "") -> Iterator[list[Path]]:
    """What ``replacing`` does, for files that belong together: none is replaced before all are on the disk."""
    targets = [Path(os.path.realpath(target)) for target in targets]
    temporaries: list[Path] = []
    modes = []
    try:
        for target in targets:
            temporary = target.with_name(f".{mark}{target.stem[:40]}-{secrets.token_hex(6)}{target.suffix}")
            # 0o666 less the process's umask, which the system applies: asking for the umask means setting it, and a
            # thread that makes a file in that moment would make it for everybody.
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            temporaries.append(temporary)
            modes.append(temporary.stat().st_mode)
        yield temporaries
        for temporary, target, mode in zip(temporaries, targets, modes, strict=True):
            # Libraries may have put a file of their own in its place: safetensors lets only the owner read it.
            temporary.chmod((target.stat().st_mode if target.exists() else mode) & 0o777)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        for temporary, target in zip(temporaries, targets, strict=True):
            temporary.replace(target)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """A new folder beside ``target`` to write to; it takes the target's place when the block ends well.

    An existing target goes with all that is in it. If the block raises, it stays as it was, and the new folder goes. A
    link is followed.
    """
    target = Path(os.path.realpath(target))
    mark = secrets.token_hex(6)
    new, old = (target.with_name(f".{target.name[:40]}-{mark}-{what}") for what in ("new", "old"))
    new.mkdir()
    try:
        yield new
        if target.exists():
            shutil.copymode(target, new)
            target.rename(old)
        try:
            new.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
    finally:
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)
