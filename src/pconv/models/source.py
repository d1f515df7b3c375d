"""Where a model's file is: a path, or a URL with the SHA-256 that it must have, downloaded once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pconv.errors import DownloadError, ModelError
from pconv.files import sha256_of
from pconv.models.download import download

_HASH = "#sha256="


@dataclass(frozen=True)
class Source:
    """A path, or a URL.

    Attributes:
        place: as it was given, without the hash.
        sha256: that the file must have, lower-case; empty where a path came without one.
        url: whether it is to be downloaded.
    """

    place: str
    sha256: str
    url: bool

    def file(self) -> Path:
        """The file, downloaded if it was not before.

        Raises:
            ModelError: there is no such file, or it has another hash.
            DownloadError: no connection, no such page, or a file with another hash.
        """
        if self.url:
            return self._downloaded()
        path = Path(self.place)
        if not path.is_file():
            raise ModelError(f"no model file at {path}")
        if self.sha256:
            came = sha256_of(path)
            if came != self.sha256:
                raise ModelError(f"{path} is not the file that was meant: its SHA-256 is {came}, not {self.sha256}")
        return path

    def _downloaded(self) -> Path:
        import pooch

        name = f"{self.sha256[:16]}-{self.place.rsplit('/', 1)[-1].partition('?')[0]}"
        path = Path(pooch.os_cache("pconv")) / "models" / name
        try:
            download(self.place, self.sha256, path)
        except DownloadError as error:
            raise DownloadError(
                f"{error}; try again, or download the model by other means and give the file's path"
            ) from error
        return path


def parse_source(text: str) -> Source:
    """Read ``PATH``, ``PATH#sha256=HASH`` or ``URL#sha256=HASH``.

    Raises:
        ModelError: a URL without a hash, or a hash that is none.
    """
    place, mark, digest = text.rpartition(_HASH)
    if not mark:
        place, digest = text, ""
    url = re.match(r"(https?|ftp)://", place) is not None
    if (mark or url) and not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        came = f"{len(digest)} characters" if mark else "none"
        raise ModelError(f"the model {place} needs its SHA-256, 64 hexadecimal digits, behind {_HASH}; got {came}")
    return Source(place, digest.lower(), url)
