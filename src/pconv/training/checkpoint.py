"""The state of a run: everything that continuing needs, in one file that is replaced as a whole."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from pconv.errors import TrainingError
from pconv.files import replacing

STATE_FILE = "state.pt"
STATE_KEYS = {
    "net", "averaged", "optimizer", "precision", "step", "skipped", "best", "photos", "places", "config",
}  # fmt: skip


def save_state(state: dict[str, Any], folder: Path) -> None:
    """Write ``state`` (tensors and plain values only) to the run's folder."""
    with replacing(folder / STATE_FILE) as temporary:
        torch.save(state, temporary)


def load_state(folder: Path) -> dict[str, Any]:
    """Read what ``save_state`` wrote. Nothing in the file is executed.

    Raises:
        TrainingError: there is none, or it is not a run's state.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        raise TrainingError(f"nothing to resume in {folder}: it has no {STATE_FILE}; start without --resume")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{path} is not the state of a training run, or is damaged") from error
    if not isinstance(state, dict) or not state.keys() >= STATE_KEYS:
        raise TrainingError(f"{path} is not the state of a training run")
    return state
