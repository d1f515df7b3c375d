"""A training run's settings: a TOML file and ``key=value`` overrides, read into one frozen, checked object."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pconv.errors import InputError
from pconv.nn.unet import PRESETS

Ratio = Annotated[float, Field(gt=0, lt=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Stage(_Settings):
    """One stretch of training: a size, a batch, a learning rate."""

    steps: int = Field(gt=0)
    size: int = Field(gt=0, description="side of the square crops, px")
    batch_size: int = Field(gt=0)
    lr: float = Field(gt=0)
    schedule: Literal["constant", "cosine"] = "constant"
    """Cosine falls from lr to 0 over the stage."""
    warmup_steps: int = Field(0, ge=0)
    hole_ratio: tuple[Ratio, Ratio] = (0.01, 0.6)
    smallest_zoom: float = Field(1.0, gt=0, le=1)
    """Crops are cut up to this much smaller-scaled, as far as the photo reaches; 1 cuts at the photo's own scale."""
    freeze_encoder_norm: bool = False
    """Stage 2 of the paper: the encoder's batch-norm statistics and affine parameters stay as they are."""

    @model_validator(mode="after")
    def _ordered(self) -> Stage:
        if self.hole_ratio[0] > self.hole_ratio[1]:
            raise ValueError(f"hole_ratio needs low <= high, got {self.hole_ratio}")
        return self


class TrainConfig(_Settings):
    """Everything that decides the outcome of a run; defaults are for a first try on a CPU."""

    photos: Path
    """Folder of photos, read recursively."""
    model: str = "small"
    """Preset of the network, see pconv.nn.PRESETS."""
    init: Path | None = None
    """Checkpoint to start the weights from, of the same network."""
    stages: tuple[Stage, ...] = Field(min_length=1)
    valid_weight: float = Field(1.0, ge=0)
    hole_weight: float = Field(6.0, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's; 0 makes it the paper's Adam."""
    clip_norm: float | None = Field(None, gt=0)
    ema: float = Field(0.999, ge=0, lt=1)
    """Decay of the averaged weights, which are what is saved for use; 0 keeps the last weights."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Auto takes bf16 where the CPU or GPU computes in it."""
    device: str = "auto"
    seed: int = Field(0, ge=0)
    workers: int = Field(2, ge=0)
    cache_gb: float = Field(2.0, ge=0)
    """Memory for decoded photos, all workers together."""
    log_every: int = Field(50, gt=0)
    sheet_every: int = Field(1000, gt=0)
    save_every: int = Field(500, gt=0)

    @model_validator(mode="after")
    def _trainable(self) -> TrainConfig:
        if self.model not in PRESETS:
            raise ValueError(f"unknown model {self.model!r}; known are {', '.join(PRESETS)}")
        smallest = PRESETS[self.model].multiple
        for stage in self.stages:
            if stage.batch_size == 1 and stage.size <= smallest:
                raise ValueError(
                    f"batch norm needs more than one value for each channel: with batch_size 1, model {self.model!r} "
                    f"needs a size above {smallest}, got {stage.size}"
                )
        return self

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)


def read_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read ``path`` (TOML), apply ``key=value`` overrides (``stages.0.lr=1e-4`` reaches inside), and check all of it.

    Relative paths in the file are relative to the working directory.

    Raises:
        InputError: not TOML, an unknown key (with the nearest known one), or a value out of range.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a TOML file: {error}") from error
    for override in overrides:
        _apply(values, override)
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: " + "; ".join(_explain(error))) from error


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key or not text:
        raise InputError(f"{override!r} is no override: write key=value, such as seed=1 or stages.0.lr=1e-4")
    *parents, last = key.split(".")
    at: Any = values
    try:
        for parent in parents:
            at = at[int(parent)] if isinstance(at, list) else at[parent]
        at[int(last) if isinstance(at, list) else last] = text.strip("\"'") if key in _TEXTS else _parse(text)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise InputError(f"{override!r}: the configuration has no {key!r} to override") from error


def _parse(text: str) -> Any:
    """A TOML value where ``text`` is one, else the text itself, so that names and paths need no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


_TEXTS = {"photos", "init", "model", "device"}
"""Settings that are text even where it looks like a number: a folder called 2024."""


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        where = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            known = list((Stage if "stages" in problem["loc"] else TrainConfig).model_fields)
            near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
            yield f"unknown key {where!r}" + (f"; did you mean {near[0]!r}?" if near else f"; known are {known}")
        elif problem["type"] == "missing":
            yield f"{where!r} is missing"
        else:
            message = problem["msg"].removeprefix("Value error, ")
            yield f"{where}: {message}" if where else message
