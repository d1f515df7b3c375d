"""Super-resolution by holes: what becomes of an image's kind, size and metadata, and where its pixels go.

The network sees the small image's pixels spread over the large one (``pconv.masks.superres``). Its prediction is
taken everywhere. The pixels themselves are not put back: a small image's pixels are means, and no single pixel of the
large one is equal to them. With even factors they also lie half a pixel beside their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.errors import InputError
from pconv.images import exif, georeference
from pconv.images.codecs import codec_named
from pconv.images.codecs.png import OF_THE_MODE, OF_THE_SIZE
from pconv.images.colour.conversion import ColourSpace
from pconv.images.colour.profiles import space_of
from pconv.images.metadata import Metadata, xmp_without_size
from pconv.images.photo import Photo
from pconv.images.reading import MAX_PIXELS
from pconv.images.writing import as_mode
from pconv.inpainting.windows import WindowedImage
from pconv.masks.superres import check_factor, superres_input

TILE_MARGIN = 48
"""Pixels from a tile's border within which the network's prediction may differ from the one without tiles.

In the preset superres the border changes a prediction by less than 1e-4 from here on, and by up to 0.2 beside it.
"""

_SUCCESSORS = {"1": "L", "RGBX": "RGB", "YCbCr": "RGB", "I;16B": "I;16", "I;16L": "I;16"}
"""What an enlarged photo's mode is, where it is another one: enlarging makes values between those there are."""
_WITH_ALPHA = {"L": "LA", "RGB": "RGBA", "I;16": "LA;16", "RGB;16": "RGBA;16"}


@dataclass(frozen=True)
class SpreadImage:
    """A small image, read as if its pixels were spread over a large one; what is written goes to the large one.

    Attributes:
        small: what is read.
        large: what is written, ``factor`` times as high and wide.
        factor: how far apart the pixels are.
    """

    small: WindowedImage
    large: WindowedImage
    factor: int

    def read(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """One window of the large image, 0 between the small image's pixels."""
        top, left = (each.start // self.factor for each in (rows, columns))
        bottom, right = (-(-each.stop // self.factor) for each in (rows, columns))
        window = self.small.read(slice(top, bottom), slice(left, right))
        spread, _ = superres_input(window.transpose(1, 2, 0), self.factor)
        down, across = top * self.factor, left * self.factor
        part = spread[rows.start - down : rows.stop - down, columns.start - across : columns.stop - across]
        return part.transpose(2, 0, 1)

    def write(self, rows: slice, columns: slice, colours: NDArray[np.float32], opacity: NDArray[np.float32]) -> None:
        """As the large image does."""
        self.large.write(rows, columns, colours, opacity)


def visible(alpha: NDArray[Any] | None, height: int, width: int) -> NDArray[np.bool_]:
    """Which pixels of an image are seen, ``(height, width)``; all of them where none is, or without alpha."""
    if alpha is None or not alpha.any():
        return np.ones((height, width), np.bool_)
    seen: NDArray[np.bool_] = alpha > 0
    return seen


def spread_hole(known: NDArray[np.bool_], factor: int) -> NDArray[np.bool_]:
    """The hole of the large image, True = hole; ``(h, w)`` ``known`` says which pixels of the small one count."""
    places, _ = superres_input(known, factor)
    return ~places


def check_enlargement(height: int, width: int, factor: int) -> None:
    """Refuse factors that no network is trained for, and results that are too large.

    Raises:
        InputError: it is one of these.
    """
    check_factor(factor)
    if not height * width:
        raise InputError(f"an image of {width}x{height} pixels has nothing to enlarge")
    if height * width * factor**2 > MAX_PIXELS:
        raise InputError(
            f"{width}x{height} pixels enlarged by {factor} are {width * factor}x{height * factor}, more than the "
            f"{MAX_PIXELS / 1e6:.0f} million that pconv reads again; take a smaller factor, or crop the photo"
        )


def prepared(photo: Photo, factor: int) -> tuple[Photo, Photo]:
    """The photo as ``with_many_colours`` gives it, and the ``blank`` one that gets its enlarged colours.

    Raises:
        InputError: the factor, the size or the photo's mode is one that is not enlarged.
    """
    check_enlargement(photo.height, photo.width, factor)
    small = with_many_colours(photo)
    return small, blank(small, factor)


def with_many_colours(photo: Photo) -> Photo:
    """The photo in a mode that holds any colour, with straight alpha: enlarging makes new colours.

    Palettes and 1-bit images become RGB or grey, and a transparent colour becomes alpha; a note says so.

    Raises:
        InputError: the photo has CMYK inks, of which a network of colours says too little.
    """
    if photo.mode.startswith("CMYK"):
        raise InputError("photos in CMYK are not enlarged: colours do not say which inks to print; convert to RGB")
    photo = photo.straight()
    mode = _SUCCESSORS.get(photo.mode, photo.mode)
    if photo.palette is not None:
        mode = "RGBA" if photo.has_alpha else "RGB"
    elif photo.colour_key is not None:
        mode = _WITH_ALPHA[mode]
    space = photo.space if mode == photo.mode else space_of(mode, photo.metadata.icc)[0]
    if space.needs_context:  # it measures what converting loses on known pixels around a hole, and there are none
        space = ColourSpace()
    notes = photo.notes
    if mode != photo.mode and photo.mode not in ("I;16B", "I;16L"):
        few = {"1": "two colours", "P": "a palette", "PA": "a palette"}.get(photo.mode, f"mode {photo.mode}")
        kept = "a transparent colour" if photo.colour_key is not None and photo.mode != "1" else few
        notes = (*notes, f"the photo has {kept}, and the enlarged one has mode {mode}, for the colours between")
    return replace(
        photo, pixels=as_mode(photo, mode), mode=mode, space=space, palette=None, colour_key=None, notes=notes
    )


def blank(photo: Photo, factor: int) -> Photo:
    """A photo ``factor`` times as large as one of ``with_many_colours``: black, with its alpha and its metadata.

    Alpha is enlarged by Pillow's BICUBIC.
    """
    height, width = factor * photo.height, factor * photo.width
    pixels = np.zeros((height, width, photo.pixels.shape[2]), photo.pixels.dtype)
    alpha = photo.alpha
    if alpha is not None:
        pixels[..., -1] = enlarged_alpha(alpha, factor)
    return replace(photo, pixels=pixels, metadata=_metadata(photo.metadata, height, width, factor))


def enlarged_alpha(alpha: NDArray[Any], factor: int) -> NDArray[Any]:
    """``(h, w)`` of uint8, uint16 or float in 0..1, enlarged by Pillow's BICUBIC."""
    size = factor * alpha.shape[1], factor * alpha.shape[0]
    if alpha.dtype == np.uint8:
        return np.asarray(Image.fromarray(alpha).resize(size, Image.Resampling.BICUBIC))
    floats = Image.fromarray(alpha.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    if np.issubdtype(alpha.dtype, np.integer):
        return np.asarray(floats).round().clip(0, np.iinfo(alpha.dtype).max).astype(alpha.dtype)
    return np.asarray(floats).clip(0, 1).astype(alpha.dtype)


def trained_for_superres(recipe: Mapping[str, Any]) -> bool:
    """Whether a model's recipe says that it was trained on small images' pixels between holes."""
    config = recipe.get("config", {})
    stages = config.get("stages", []) if isinstance(config, Mapping) else []
    return bool(stages) and stages[-1].get("holes") == "superres"


def _metadata(metadata: Metadata, height: int, width: int, factor: int) -> Metadata:
    """What is true of an enlarged photo of this size. The resolution stays, so its print becomes larger."""
    if metadata.orientation >= 5:  # EXIF counts pixels as they are stored
        height, width = width, height
    info = {key: value for key, value in metadata.info.items() if key not in ("transparency", "bits")}
    if isinstance(info.get("exif"), bytes):
        info["exif"] = georeference.enlarged(exif.with_size(info["exif"], width, height), factor)
    verbatim, xmp = metadata.verbatim, xmp_without_size(metadata.xmp)
    if xmp != metadata.xmp:
        codec = codec_named(metadata.format)
        verbatim = codec.with_xmp(verbatim, xmp) if codec else verbatim
        info |= {"xmp": xmp} if "xmp" in info else {}
    return replace(
        metadata,
        exif=georeference.enlarged(exif.with_size(metadata.exif, width, height), factor),
        xmp=xmp,
        verbatim=tuple(each for each in verbatim if each[0] not in OF_THE_MODE | OF_THE_SIZE),
        encoding=MappingProxyType({key: value for key, value in metadata.encoding.items() if key != "bits"}),
        info=MappingProxyType(info),
    )
