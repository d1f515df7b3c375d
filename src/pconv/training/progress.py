"""What a run prints while it goes on: a bar on a terminal, plain lines elsewhere; only on the first process."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any

import click


class TrainingProgress(AbstractContextManager["TrainingProgress"]):
    """Counts images, and prints to standard error; where nobody reads that any more, the run goes on without it.

    Args:
        images: how many the run still has to process.
        silent: print nothing, as on all processes but the first.
    """

    def __init__(self, images: int, silent: bool) -> None:
        self._silent, self._terminal = silent, sys.stderr.isatty() and not silent
        self._bar: Any = click.progressbar(
            length=images, file=sys.stderr, hidden=not self._terminal, width=20, item_show_func=lambda text: text
        )
        self._text = ""
        self._since, self._images = time.perf_counter(), 0

    def __enter__(self) -> TrainingProgress:
        self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            self._bar.__exit__(*error)

    def advance(self, images: int) -> None:
        self._images += images
        with suppress(OSError):
            self._bar.update(images, self._text)

    def images_per_s(self) -> float:
        """Since this was called last."""
        now = time.perf_counter()
        rate = self._images / max(now - self._since, 1e-9)
        self._since, self._images = now, 0
        return rate

    def step(self, step: int, steps: int, values: Mapping[str, float]) -> None:
        """Show where the run is: beside the bar, or as a line of its own with all of ``values``."""
        rate = f"{values['images_per_s']:.1f} img/s"
        if self._terminal:
            loss = [f"loss {values['loss']:.4g}"] if "loss" in values else []
            self._text = "  ".join([f"step {step}/{steps}", *loss, rate])
        else:
            shown = [f"{name} {value:.4g}" for name, value in values.items() if name != "images_per_s"]
            self.note("  ".join([f"step {step}/{steps}", *shown, rate]))

    def note(self, text: str) -> None:
        """Print a line, above the bar where there is one."""
        if not self._silent:
            with suppress(OSError):
                click.echo(("\r\033[K" if self._terminal else "") + text, err=True)
