"""Downloading a file once, with a checked hash."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pconv.errors import DownloadError

RETRIES = 2


def download(url: str, sha256: str, path: Path) -> None:
    """Download ``url`` to ``path``, unless the file there has this SHA-256 already. It is tried three times.

    Raises:
        DownloadError: there is no connection, no such page, or the file has another hash; nothing is kept.
    """
    import pooch

    cache = pooch.create(
        path.parent, "", registry={path.name: f"sha256:{sha256}"}, urls={path.name: url}, retry_if_failed=RETRIES
    )
    try:
        cache.fetch(path.name, progressbar=_DownloadBar() if sys.stderr.isatty() else False)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; pooch's for hashes are ValueErrors
        raise DownloadError(f"cannot download {url} to {path} ({str(error).splitlines()[0]})") from error


class _DownloadBar:
    """What pooch expects of a progress bar, drawn by click."""

    _bar: Any = None

    @property
    def total(self) -> int:
        return int(self._bar.length) if self._bar else 0

    @total.setter
    def total(self, size: int) -> None:
        """pooch sets the size in bytes at the start of each try."""
        import click

        self._bar = click.progressbar(length=size, file=sys.stderr)

    def update(self, count: int) -> None:
        self._bar.update(count)

    def reset(self) -> None:
        """pooch fills the bar itself after this."""

    def close(self) -> None:
        self._bar.render_finish()
