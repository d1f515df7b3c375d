"""Holes from video: what one frame shows and the next does not, by optical flow (Liu et al., section 4)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.errors import ImageFileError, InputError
from pconv.images.codecs import SUFFIXES
from pconv.images.reading import read_photo

Frame = NDArray[np.uint8]

CONSISTENT_RELATIVE, CONSISTENT_ABSOLUTE = 0.01, 0.5
"""Sundaram, Brox and Keutzer, ECCV 2010, equation 5: how far forward and backward flow may differ, squared px."""

_PREVIEW_SIDE = 240
_PAINT = (255, 0, 255)


def occlusion_hole(before: Frame, after: Frame) -> NDArray[np.bool_]:
    """Pixels of ``before`` that have no counterpart in ``after``.

    With f the flow from ``before`` to ``after`` and b the one back, both by OpenCV's DIS, a pixel x is a hole where
    ``|f(x) + b(x + f(x))|^2 > 0.01 (|f(x)|^2 + |b(x + f(x))|^2) + 0.5``, or where x + f(x) lies outside the frame.

    Args:
        before, after: ``(H, W, 3)`` or ``(H, W)`` uint8.

    Returns:
        ``(H, W)`` bool, True = hole.

    Raises:
        InputError: the frames differ in size.
    """
    import cv2

    if before.shape != after.shape:
        raise InputError(f"frames must be of one size, got {_size(before)} and {_size(after)}")
    grey = [frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before, after)]
    flow: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    forward = flow.calc(grey[0], grey[1], None)
    backward = flow.calc(grey[1], grey[0], None)
    height, width = grey[0].shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    to_x, to_y = x + forward[..., 0], y + forward[..., 1]
    back = cv2.remap(backward, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    gap = np.square(forward + back).sum(axis=2)
    lengths = np.square(forward).sum(axis=2) + np.square(back).sum(axis=2)
    gone = (to_x < -0.5) | (to_x > width - 0.5) | (to_y < -0.5) | (to_y > height - 0.5)
    return np.asarray(gone | (gap > CONSISTENT_RELATIVE * lengths + CONSISTENT_ABSOLUTE))


def read_frames(source: Path, every: int = 1) -> Iterator[Frame]:
    """Frames ``(H, W, 3)`` uint8 RGB of a video file, or of a folder's images in the order of their names' numbers.

    Args:
        every: take each ``every``-th frame.

    Raises:
        InputError: there is no such video or folder, or it cannot be read.
    """
    frames = _frames_of_folder(source) if source.is_dir() else _frames_of_video(source)
    for number, frame in enumerate(frames):
        if number % every == 0:
            yield frame


def frame_pairs(frames: Iterator[Frame]) -> Iterator[tuple[Frame, Frame]]:
    """Each frame with the next.

    Raises:
        InputError: there are fewer than two.
    """
    before = next(frames, None)
    after = next(frames, None)
    if before is None or after is None:
        found = "one frame" if before is not None else "no frame"
        raise InputError(f"optical flow needs two frames, and there is {found}")
    while after is not None:
        yield before, after
        before, after = after, next(frames, None)


def _frames_of_video(path: Path) -> Iterator[Frame]:
    import cv2

    if not path.is_file():
        raise InputError(f"no video or folder of frames at {path}")
    video = cv2.VideoCapture(str(path))
    try:
        if not video.isOpened():
            raise InputError(f"{path} cannot be read as a video; give an .mp4, .avi or such, or a folder of frames")
        while True:
            found, frame = video.read()
            if not found:
                return
            yield np.ascontiguousarray(frame[..., ::-1])
    finally:
        video.release()


def _frames_of_folder(folder: Path) -> Iterator[Frame]:
    files = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    paths = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise InputError(f"no frames (.png, .jpg and such) in {folder}")
    for path in sorted(paths, key=_natural):
        try:
            yield np.ascontiguousarray(read_photo(path, f"the frame {path}").rgb())
        except ImageFileError as error:
            raise InputError(str(error)) from error


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts frame-9 before frame-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _size(frame: Frame) -> str:
    return f"{frame.shape[1]}x{frame.shape[0]}"


def preview(frame: Frame, hole: NDArray[np.bool_]) -> Image.Image:
    """A small image of a frame with its hole painted over, above the hole.

    Args:
        frame: ``(H, W, 3)`` uint8.
        hole: ``(H, W)`` bool.
    """
    painted = np.where(hole[..., None], np.array(_PAINT, np.uint8), frame)
    pair = Image.fromarray(np.concatenate([painted, np.repeat(hole[..., None] * np.uint8(255), 3, axis=2)]))
    pair.thumbnail((_PREVIEW_SIDE, 2 * _PREVIEW_SIDE))
    return pair
