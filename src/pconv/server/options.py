"""The text fields of a request. Those of a fill are the fields of `InpaintOptions`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from typing import Any

from pconv.errors import InputError
from pconv.images.codecs import CODECS
from pconv.inpainting.options import InpaintOptions
from pconv.server.errors import ApiError

FORMATS = tuple(suffix.removeprefix(".") for codec in CODECS for suffix in codec.suffixes)
"""What the field `format` may say besides "same": the file suffixes, without the dot."""


@dataclass(frozen=True)
class RequestOptions:
    """How to fill, and how to write the answer.

    Attributes:
        fill: the options of the fill.
        suffix: of the answer's format; None: the photo's own.
        quality: of a lossy answer, 1 to 100; None: the photo's own, or a high one.
    """

    fill: InpaintOptions
    suffix: str | None = None
    quality: int | None = None


def _schema(option: Field[Any]) -> dict[str, Any]:
    known = option.metadata["help"]
    kind = {"type": "integer", "minimum": known.low, "maximum": known.high}
    if isinstance(option.default, bool):
        kind = {"type": "boolean"}
    elif isinstance(option.default, tuple):
        kind = {"type": "string", "pattern": "^[0-9]*(,[0-9]+)*$"}
    return {
        **kind,
        "default": option.default or "" if kind["type"] == "string" else option.default,
        "description": known.text,
    }


FILL_SCHEMA = {option.name: _schema(option) for option in fields(InpaintOptions)}
"""A JSON schema of each option of a fill."""
TEXT_SCHEMA: dict[str, dict[str, Any]] = {
    **FILL_SCHEMA,
    "format": {"type": "string", "enum": ["same", *FORMATS], "default": "same", "description": "Of the answer"},
    "quality": {"type": "integer", "minimum": 1, "maximum": 100, "description": "Of a lossy answer"},
}
"""A JSON schema of each text field."""


def parse_options(texts: Mapping[str, bytes | bytearray]) -> RequestOptions:
    """Read the text fields of a request.

    Raises:
        ApiError: a field has a value that it does not take.
    """
    values = {name: _parsed(name, text) for name, text in texts.items()}
    name, quality = values.pop("format", "same"), values.pop("quality", None)
    if name != "same" and name not in FORMATS:
        raise _bad_field(f"format is {name!r}; give one of same, {', '.join(FORMATS)}")
    if quality is not None and not (type(quality) is int and 1 <= quality <= 100):
        raise _bad_field(f"quality is {quality!r}; give a whole number from 1 to 100")
    try:
        return RequestOptions(InpaintOptions(**values), None if name == "same" else f".{name}", quality)
    except InputError as error:
        raise _bad_field(str(error)) from error


def _parsed(name: str, value: bytes | bytearray) -> Any:
    """A boolean or a whole number where the text says one; other texts stay, and the checks refuse them."""
    try:
        text = value.decode("ascii").strip().lower()
    except UnicodeDecodeError as error:
        raise _bad_field(f"the value of {name} is not plain text") from error
    return {"true": True, "false": False}.get(text, int(text) if text.isdigit() else text)


def _bad_field(message: str) -> ApiError:
    return ApiError(422, "bad_field", message)
