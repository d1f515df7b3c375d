"""An image and a mask in, a filled image out: the Python interface to a trained network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.errors import DeviceMemoryError, InputError
from pconv.images.photo import Photo
from pconv.images.pillow import from_pil
from pconv.inpainting.backends import Backend, open_backend
from pconv.inpainting.holes import hole_of_mask, holes_of_batch
from pconv.inpainting.options import InpaintOptions
from pconv.inpainting.tensors import by_arrays, is_tensor
from pconv.inpainting.tiles import BYTES_PER_PIXEL, MemoryBudget, NetworkRunner, fill_holes
from pconv.inpainting.upscaling import (
    TILE_MARGIN,
    SpreadImage,
    check_enlargement,
    enlarged_alpha,
    prepared,
    spread_hole,
    trained_for_superres,
    visible,
)
from pconv.inpainting.windows import WindowedImage, array_image, photo_image
from pconv.models import BUNDLED, DEFAULT_MODEL, GRAPH, SUPERRES_MODEL, find_model

AnyImage = TypeVar("AnyImage")

if TYPE_CHECKING:
    from torch import Tensor

    from pconv.inpainting.holes import Mask

    Image_ = TypeVar("Image_", Image.Image, NDArray[np.generic], Photo, Tensor)

MAX_MEMORY = 2**30
"""Bytes for the network's part of the work."""

LEAST_PIXELS = 256 * 256
"""What a device must be able to fill at once."""

_log = logging.getLogger("pconv")


class Inpainter:
    """Fills holes in images with one network, loaded once; see ``inpaint`` for single calls.

    Args:
        model: the name of a bundled one ("default", "clean" or "superres"), or the path or URL of a checkpoint made by
            ``pconv train`` (``.safetensors``, which needs PyTorch) or of a graph made by ``pconv export`` (``.onnx``).
        device: "auto", "cpu"; with the torch backend also "cuda", "cuda:1", "mps".
        backend: "onnxruntime", "torch", "openvino", or "auto": the fastest that is installed and can do it. Or a
            ``pconv.inpainting.backends.Backend`` that is open already; ``model``, ``device`` and ``precision``
            then stay unused.
        precision: "fp32", "bf16", or "auto": bf16 with the torch backend where the device computes in it, else fp32.
        max_memory: bytes that filling may take beside the image itself, in all threads together; larger images are
            filled in tiles.

    Attributes:
        backend: what computes, with its ``name``, ``device``, ``precision``, ``path`` and ``recipe``.

    Raises:
        ModelError: no such model, or not a model.
        InputError: no such device, backend or precision here; the message says what to install.

    Calls may come from several threads. Where a GPU's memory does not suffice, smaller tiles are tried, and then the
    CPU; the logger "pconv" says so.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        device: str = "auto",
        backend: str | Backend = "auto",
        precision: str = "auto",
        max_memory: int = MAX_MEMORY,
    ) -> None:
        if max_memory < LEAST_PIXELS * BYTES_PER_PIXEL:
            least = -(-LEAST_PIXELS * BYTES_PER_PIXEL // 2**20)
            raise InputError(f"filling takes at least {least} MiB of memory; max_memory is {max_memory} bytes")
        self.backend: Backend = (
            open_backend(model, str(device), backend, precision) if isinstance(backend, str) else backend
        )
        self._precision = precision
        self._max_memory = self._memory = max_memory
        self._budget = MemoryBudget(max_memory)

    @overload
    def __call__(self, image: Image_, mask: Mask, options: InpaintOptions | None = None, **changes: Any) -> Image_: ...
    @overload
    def __call__(
        self,
        image: Sequence[Image_],
        mask: Mask | Sequence[Mask],
        options: InpaintOptions | None = None,
        **changes: Any,
    ) -> list[Image_]: ...
    def __call__(self, image: Any, mask: Any, options: InpaintOptions | None = None, **changes: Any) -> Any:
        """Return a copy of ``image`` in which the hole is filled; pixels outside the hole stay bit for bit.

        Args:
            image: one of these, or a list of them:

                * a PIL image of any mode with colours, of 8 bits, 1 bit, or 16-bit grey; alpha is kept as it is;
                * a numpy array ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)`` (the fourth channel, alpha,
                  is kept) of uint8, uint16, or float with values in 0..1;
                * a torch tensor ``(C, H, W)`` or ``(B, C, H, W)``, C and dtypes as in arrays, on any device;
                * a ``pconv.Photo``, as ``pconv.read_photo`` gives it.

                What lies in the hole is never read, but for ``feather``; it may be NaN.
            mask: what to fill, at the image's size: a PIL image, an array ``(H, W)`` or ``(H, W, C)``, or a tensor
                ``(H, W)``, ``(1, H, W)``, for batches also ``(B, 1, H, W)``. White is filled; see
                ``pconv.masks.rule`` for what counts as white. For a list: a list as long, or one for all.
            options: how to fill; the defaults of ``pconv.InpaintOptions`` if None.
            changes: single options, such as ``seed=3``, in place of those of ``options``.

        Returns:
            The same kind of thing as ``image``: a PIL image of the same mode, an array or tensor of the same shape and
            dtype, a photo, or a list of them.

        Raises:
            InputError: the sizes differ, nothing is known outside the hole, the kind of image is unknown, or an
                option is out of range.
            DeviceMemoryError: no device has the memory for it.
        """
        options = replace(options or InpaintOptions(), **_known(changes))
        for note in self.notes(options):
            _log.warning(note)
        return self._fill(image, mask, options)

    def notes(self, options: InpaintOptions) -> list[str]:
        """Sentences for the user on what the model cannot do of ``options``."""
        if options.seed and not self.backend.noise:
            return [f"the model has no noise inputs, so seed {options.seed} gives the same fill as seed 0"]
        return []

    @overload
    def upscale(self, image: Image_, factor: int) -> Image_: ...
    @overload
    def upscale(self, image: Sequence[Image_], factor: int) -> list[Image_]: ...
    def upscale(self, image: Any, factor: int) -> Any:
        """Return ``image`` enlarged: super-resolution by holes (Liu et al., extensions).

        Pixel (x, y) goes to (K x + floor(K / 2), K y + floor(K / 2)), where K is ``factor``, and all else is hole
        (``pconv.superres_input``). The result is the network's prediction everywhere, clipped to the value range.

        Args:
            image: what ``__call__`` takes, or a list of it. Floats must be finite, everywhere.
            factor: 2, 3 or 4.

        Returns:
            The same kind of thing as ``image``, ``factor`` times as high and wide. Alpha is enlarged by Pillow's
            BICUBIC; invisible pixels are not read where others are visible. PIL images and photos with a palette or
            a transparent colour, and 1-bit ones, come back in a mode that holds the colours between.

        Raises:
            InputError: another factor, more pixels than pconv reads, CMYK, or what ``__call__`` refuses.
            ModelError: the model is a graph that predicts no known pixels; export it again.
            DeviceMemoryError: no device has the memory for it.
        """
        for note in self.upscale_notes():
            _log.warning(note)
        return self._upscale(image, factor)

    def upscale_notes(self) -> list[str]:
        """Sentences for the user where the model was not trained for super-resolution."""
        if trained_for_superres(self.backend.recipe):
            return []
        return [f"{self.backend.path} was trained to fill holes, not for super-resolution; superres was"]

    def upscale_into(self, small: Photo, large: Photo) -> None:
        """Write the enlarged colours of ``small`` into ``large``; ``pconv.inpainting.upscaling.prepared`` makes both.

        Raises:
            ModelError: the model is a graph that predicts no known pixels; export it again.
            DeviceMemoryError: no device has the memory for it.
        """
        known = visible(small.alpha, small.height, small.width)
        self._upscale_into(small, large, photo_image, known, large.height // small.height)

    def fill_photo(
        self,
        photo: Photo,
        hole: NDArray[np.bool_],
        options: InpaintOptions,
        before_run: Callable[[], None] | None = None,
    ) -> Photo:
        """Return a copy of ``photo`` with a hole that is final: ``invert`` and ``grow`` are not applied to it.

        Args:
            photo: what has the hole.
            hole: ``(H, W)``, True = fill.
            options: of which ``feather`` and ``seed`` count.
            before_run: called before each run of the network. What it raises ends the fill.

        Raises:
            DeviceMemoryError: no device has the memory for it.
        """
        unknown = hole
        alpha = photo.alpha
        if alpha is not None:  # the colours of invisible pixels mean nothing
            unknown = hole | (alpha == 0)
            unknown = hole if unknown.all() else unknown
        return self._filled(photo, Photo.copy, photo_image, hole, options, unknown, before_run)

    def _fill(self, image: Any, mask: Any, options: InpaintOptions) -> Any:
        if isinstance(image, (list, tuple)):
            masks = list(mask) if isinstance(mask, (list, tuple)) else [mask] * len(image)
            if len(masks) != len(image):
                raise InputError(f"{len(image)} images and {len(masks)} masks: give one mask for each, or one for all")
            return [self._fill(one, its, options) for one, its in zip(image, masks, strict=True)]
        if isinstance(image, Photo):
            return self.fill_photo(image, hole_of_mask(mask, (image.height, image.width), options), options)
        if isinstance(image, Image.Image):
            hole = hole_of_mask(mask, (image.height, image.width), options)
            return self.fill_photo(from_pil(image), hole, options).to_pil()
        if isinstance(image, np.ndarray) and image.ndim in (2, 3):
            return self._fill_array(image, hole_of_mask(mask, image.shape[:2], options), options)
        if is_tensor(image) and image.ndim in (3, 4):
            return self._fill_tensor(image, mask, options)
        raise _unknown_kind("inpaint", image)

    def _upscale(self, image: Any, factor: int) -> Any:
        if isinstance(image, (list, tuple)):
            return [self._upscale(one, factor) for one in image]
        if isinstance(image, Photo):
            return self._upscale_photo(image, factor)
        if isinstance(image, Image.Image):
            return self._upscale_photo(from_pil(image), factor).to_pil()
        if isinstance(image, np.ndarray) and image.ndim in (2, 3):
            return self._upscale_array(image, factor)
        if is_tensor(image) and image.ndim in (3, 4):
            return by_arrays(image, lambda array, _: self._upscale_array(array, factor))
        raise _unknown_kind("upscale", image)

    def _upscale_photo(self, photo: Photo, factor: int) -> Photo:
        small, large = prepared(photo, factor)
        self.upscale_into(small, large)
        return large

    def _upscale_array(self, image: NDArray[Any], factor: int) -> NDArray[Any]:
        check_enlargement(image.shape[0], image.shape[1], factor)
        array_image(image, self.backend.channels)  # refuses what this model cannot take
        alpha = None
        if np.issubdtype(image.dtype, np.floating):
            _check_floats(
                image, "the image has NaN or Inf, of which nothing can be predicted; fill these pixels first"
            )
        large = np.zeros((factor * image.shape[0], factor * image.shape[1], *image.shape[2:]), image.dtype)
        if image.ndim == 3 and image.shape[2] == 4 and self.backend.channels == 3:
            alpha = image[..., 3]
            large[..., 3] = enlarged_alpha(alpha, factor)
        self._upscale_into(image, large, array_image, visible(alpha, image.shape[0], image.shape[1]), factor)
        return large

    def _upscale_into(
        self,
        small: AnyImage,
        large: AnyImage,
        windowed: Callable[[AnyImage, int], WindowedImage],
        known: NDArray[np.bool_],
        factor: int,
    ) -> None:
        hole = spread_hole(known, factor)

        def work(runner: NetworkRunner) -> None:
            channels = runner.backend.channels
            image = SpreadImage(windowed(small, channels), windowed(large, channels), factor)
            fill_holes(runner, image, hole, wanted=np.ones_like(hole), margin=TILE_MARGIN)

        self._with_memory(work, everywhere=True)

    def _fill_array(self, image: NDArray[Any], hole: NDArray[np.bool_], options: InpaintOptions) -> NDArray[Any]:
        if np.issubdtype(image.dtype, np.floating):
            if options.feather:
                _check_floats(image, "the image has NaN or Inf, and feather blends with what is there; use feather=0")
            else:
                _check_floats(image[~hole], "the image has NaN or Inf outside the hole; mark those pixels as hole too")
        return self._filled(image, np.ndarray.copy, array_image, hole, options)

    def _fill_tensor(self, image: Tensor, mask: Any, options: InpaintOptions) -> Tensor:
        count = len(image) if image.ndim == 4 else 1
        holes = holes_of_batch(mask, count, (image.shape[-2], image.shape[-1]), options)
        return by_arrays(image, lambda array, number: self._fill_array(array, holes[number], options))

    def _filled(
        self,
        image: AnyImage,
        copied: Callable[[AnyImage], AnyImage],
        windowed: Callable[[AnyImage, int], WindowedImage],
        hole: NDArray[np.bool_],
        options: InpaintOptions,
        unknown: NDArray[np.bool_] | None = None,
        before_run: Callable[[], None] | None = None,
    ) -> AnyImage:
        """A copy with ``hole`` filled from what is not ``unknown`` (by default the hole)."""
        if not hole.any():
            result = copied(image)
            windowed(result, self.backend.channels)  # refuses images that this model could not fill
            return result

        def fill(runner: NetworkRunner) -> AnyImage:
            result = copied(image)
            windows = windowed(result, runner.backend.channels)
            all_unknown = hole if unknown is None else unknown
            fill_holes(runner, windows, all_unknown, wanted=hole, feather=options.feather)
            return result

        return self._with_memory(fill, options.seed, before_run)

    def _with_memory(
        self,
        work: Callable[[NetworkRunner], AnyImage],
        seed: int = 0,
        before_run: Callable[[], None] | None = None,
        everywhere: bool = False,
    ) -> AnyImage:
        """What ``work`` returns; again with less memory, and at last on the CPU, where the device has too little."""
        while True:
            backend, memory = self.backend, self._memory
            runner = NetworkRunner(backend, memory, seed if backend.noise else 0, before_run, self._budget, everywhere)
            try:
                return work(runner)
            except DeviceMemoryError as error:
                self._use_less_memory(backend, memory, error)

    def _use_less_memory(self, backend: Backend, memory: int, error: DeviceMemoryError) -> None:
        """Go on with half the memory, or on the CPU; for all calls from now on."""
        if (backend, memory) != (self.backend, self._memory):
            return  # another thread has done it
        if memory // 2 >= LEAST_PIXELS * BYTES_PER_PIXEL:
            self._memory = memory // 2
            _log.warning("%s is out of memory; going on in smaller tiles", backend.device)
        elif backend.device != "cpu":
            _log.warning("%s is out of memory even for small tiles; going on on the CPU", backend.device)
            self.backend = open_backend(backend.path, "cpu", backend.name, self._precision)
            self._memory = self._max_memory
        else:
            raise error


def upscale(
    image: Image_,
    factor: int,
    model: str | Path = SUPERRES_MODEL,
    device: str = "auto",
    backend: str = "auto",
) -> Image_:
    """Return ``image`` enlarged by ``factor``: 2, 3 or 4.

    Takes and returns what ``Inpainter.upscale`` does. The last two models used stay loaded.

        >>> large = pconv.upscale(image, 2)
    """
    return _loaded(model, device, backend).upscale(image, factor)


def inpaint(
    image: Image_,
    mask: Mask,
    model: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    backend: str = "auto",
    options: InpaintOptions | None = None,
    **changes: Any,
) -> Image_:
    """Return a copy of ``image`` in which the white of ``mask`` is filled.

    Takes and returns what ``Inpainter.__call__`` does. The last two models used stay loaded.

        >>> filled = pconv.inpaint(image, mask, seed=1)
    """
    return _loaded(model, device, backend)(image, mask, options, **changes)


def _loaded(model: str | Path, device: str, backend: str) -> Inpainter:
    """An inpainter that stays loaded, unless the model's file changes."""
    file = find_model(model, GRAPH)
    name = model if str(model) in BUNDLED else file.resolve()
    return _cached_inpainter(name, file.stat().st_mtime_ns, device, backend)


@lru_cache(maxsize=2)
def _cached_inpainter(model: str | Path, _modified: int, device: str, backend: str) -> Inpainter:
    return Inpainter(model, device, backend)


def _known(changes: dict[str, Any]) -> dict[str, Any]:
    known = InpaintOptions.__dataclass_fields__
    for name in changes:
        if name not in known:
            raise TypeError(f"there is no option {name!r}; known are {', '.join(known)}")
    return changes


def _unknown_kind(what_for: str, image: Any) -> InputError:
    shaped = isinstance(image, np.ndarray) or is_tensor(image)
    what = f"an array of shape {tuple(image.shape)}" if shaped else f"a {type(image).__name__}"
    return InputError(
        f"cannot {what_for} {what}; give a PIL image, a numpy array (H, W) or (H, W, C), a torch tensor (C, H, W) or "
        "(B, C, H, W), or a list of these"
    )


def _check_floats(known: NDArray[Any], not_finite: str) -> None:
    """Refuse floats outside of 0..1, and NaN and Inf with the sentence ``not_finite``."""
    with np.errstate(invalid="ignore"):
        least, most = known.min(), known.max()
    if not (np.isfinite(least) and np.isfinite(most)):
        raise InputError(not_finite)
    if least < 0 or most > 1:
        raise InputError(f"float images need values in 0..1; got {least:g}..{most:g} (divide by 255, or give uint8)")
