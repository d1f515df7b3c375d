"""What a run says while it goes on: a bar on a terminal, plain lines elsewhere, nothing but on the first process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Report(AbstractContextManager["Report"]):
    """Counts images and says how it goes.

    Args:
        total: images of the whole run.
        done: images that an earlier part of it had seen.
        silent: for all processes but the first.
    """

    def __init__(self, total: int, done: int, silent: bool) -> None:
        self._console = Console(stderr=True, quiet=silent, highlight=False, soft_wrap=True)
        self._bar = Progress(
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
            console=self._console,
            disable=silent or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=total, completed=done, state="")
        self._since, self._images = time.perf_counter(), 0

    def __enter__(self) -> Report:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, images: int) -> None:
        self._images += images
        self._bar.advance(self._task, images)

    def rate(self) -> float:
        """Images/s since this was asked last."""
        now = time.perf_counter()
        rate = self._images / max(now - self._since, 1e-9)
        self._since, self._images = now, 0
        return rate

    def state(self, step: int, steps: int, values: Mapping[str, float]) -> None:
        """Where the run is: beside the bar, or as a line of its own with all of ``values``."""
        rate = f"{values['images_per_s']:.1f} img/s"
        if self._bar.disable:
            shown = [f"{name} {value:.4g}" for name, value in values.items() if name != "images_per_s"]
            self.note("  ".join([f"step {step}/{steps}", *shown, rate]))
        else:
            loss = [f"loss {values['loss']:.4g}"] if "loss" in values else []
            self._bar.update(self._task, state="  ".join([f"step {step}/{steps}", *loss, rate]))

    def note(self, text: str) -> None:
        """Something to be read: a line above the bar."""
        self._console.print(text, markup=False)
