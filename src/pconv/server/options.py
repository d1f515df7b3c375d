"""The text fields of a request, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from pconv.models import SEEDS
from pconv.server.refusals import RefusedError

FORMATS = {
    "png": ".png", "jpeg": ".jpg", "jpg": ".jpg", "webp": ".webp", "tiff": ".tif", "tif": ".tif", "bmp": ".bmp",
    "gif": ".gif", "avif": ".avif",
}  # fmt: skip
"""What the field ``format`` may say besides "same", and the suffix it means."""
Value = TypeVar("Value")

MAX_REACH = 200
"""Pixels by which a hole may be grown or feathered."""


@dataclass(frozen=True)
class Options:
    """How to fill and how to answer.

    Attributes:
        grow: pixels by which the hole grows.
        feather: pixels inside the hole over which the fill blends with what was there.
        invert: the mask's black is the hole.
        seed: 0 to 63, chooses another texture for the same hole.
        suffix: of the answer's format; None: the photo's own.
        quality: of a lossy answer, 1..100; None: the photo's own, or a high one.
    """

    grow: int = 0
    feather: int = 0
    invert: bool = False
    seed: int = 0
    suffix: str | None = None
    quality: int | None = None


def parse_options(fields: Mapping[str, bytes | bytearray]) -> Options:
    """Raises RefusedError: a value that is not one of those that the field takes."""
    texts = {name: _text(name, value) for name, value in fields.items()}
    return Options(
        grow=_number("grow", texts.get("grow", "0"), 0, MAX_REACH),
        feather=_number("feather", texts.get("feather", "0"), 0, MAX_REACH),
        invert=_choice("invert", texts.get("invert", "false"), {"true": True, "false": False}),
        seed=_number("seed", texts.get("seed", "0"), 0, SEEDS - 1),
        suffix=_choice("format", texts.get("format", "same"), {"same": None, **FORMATS}),
        quality=_number("quality", texts["quality"], 1, 100) if "quality" in texts else None,
    )


def _text(name: str, value: bytes | bytearray) -> str:
    try:
        return value.decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise RefusedError(422, "bad_field", f"the value of {name} is not plain text") from error


def _number(name: str, text: str, low: int, high: int) -> int:
    if not (text.isdigit() and low <= int(text) <= high):
        raise RefusedError(422, "bad_field", f"{name} must be a whole number from {low} to {high}, not {text!r}")
    return int(text)


def _choice(name: str, text: str, values: Mapping[str, Value]) -> Value:
    if text.lower() not in values:
        raise RefusedError(422, "bad_field", f"{name} must be one of {', '.join(values)}, not {text!r}")
    return values[text.lower()]
