"""Images of few colours: palettes, whose nearest colour a fill gets, and black and white."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CLOSE = 3
"""A palette colour that is off by no more than this in each of R, G and B is as good as a new entry."""

HALFTONE = 0.2
"""Changes between black and white per pixel along a row. Scanned text has about 0.05, a dithered photo 0.3 to 0.7."""


@dataclass
class Palette:
    """The colours that indices stand for; filling may add to them, up to ``room`` entries.

    Attributes:
        colours: ``(n, 3)`` uint8.
        alphas: ``(n,)`` uint8.
        used: entries below this are the image's own and never change; above it lies padding.
        room: how many entries the file's bit depth allows.
    """

    colours: NDArray[np.uint8]
    alphas: NDArray[np.uint8]
    used: int
    room: int

    @classmethod
    def of(
        cls, colours: NDArray[np.uint8], alphas: NDArray[np.uint8], indices: NDArray[np.uint8], room: int
    ) -> Palette:
        """The palette of an image with these ``indices``: trailing copies of a colour that no pixel uses are padding.

        Indices beyond the palette's end, which a damaged file may hold, are black, as viewers show them.
        """
        highest = int(indices.max(initial=0)) + 1
        missing = max(highest - len(colours), 0)
        colours = np.concatenate([colours, np.zeros((missing, 3), np.uint8)])
        alphas = np.concatenate([alphas, np.full(missing, 255, np.uint8)])
        used = len(colours)
        entries = [(*colour, alpha) for colour, alpha in zip(colours.tolist(), alphas.tolist(), strict=True)]
        while used > max(highest, 1) and entries[used - 1] in entries[: used - 1]:
            used -= 1
        return cls(colours, alphas, used, max(room, len(colours)))

    def copy(self) -> Palette:
        """The same palette with arrays of its own."""
        return Palette(self.colours.copy(), self.alphas.copy(), self.used, self.room)

    @property
    def is_opaque(self) -> bool:
        """Whether no entry is transparent."""
        return bool((self.alphas == 255).all())

    def indices_of(self, wanted: NDArray[np.uint8], alphas: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """For ``(n, 3)`` colours and their ``(n,)`` alphas: the nearest entries of just that alpha.

        Half of the free entries go to the colours that are far from all there are, half are left for later calls.
        """
        result = np.zeros(len(wanted), np.uint8)
        for alpha in np.unique(alphas[alphas > 0]).tolist():  # what is transparent has no colour to look for
            chosen = alphas == alpha
            packed = wanted[chosen].astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
            different, inverse, counts = np.unique(packed, return_inverse=True, return_counts=True)
            colours = np.stack([different >> shift & 255 for shift in (16, 8, 0)], axis=1).astype(np.uint8)
            self._extend(colours, counts, alpha)
            candidates = np.flatnonzero(self.alphas[: self.used] == alpha)
            if len(candidates) == 0:  # no room for an entry of this alpha: the nearest colour of any
                candidates = np.arange(self.used)
            nearest, _ = _nearest(colours, self.colours[candidates])
            result[chosen] = candidates[nearest][inverse.reshape(-1)]
        return result

    def _extend(self, colours: NDArray[np.uint8], counts: NDArray[np.intp], alpha: int) -> None:
        same = self.colours[: self.used][self.alphas[: self.used] == alpha]
        share = (self.room - self.used + 1) // 2
        if share == 0:
            return
        if len(same):
            _, distance = _nearest(colours, same)
            colours, counts = colours[distance > CLOSE], counts[distance > CLOSE]
        if len(colours) == 0:
            return
        new = colours if len(colours) <= share else _representatives(colours, counts, share)
        end = self.used + len(new)
        added = max(end - len(self.colours), 0)
        self.colours = np.concatenate([self.colours, np.zeros((added, 3), np.uint8)])
        self.alphas = np.concatenate([self.alphas, np.zeros(added, np.uint8)])
        self.colours[self.used : end] = new
        self.alphas[self.used : end] = alpha
        self.used = end


def _nearest(colours: NDArray[np.uint8], entries: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.int16]]:
    """For each colour the nearest entry's place, and how far it is in its worst channel."""
    places = np.zeros(len(colours), np.intp)
    points = entries.astype(np.float32)
    lengths = (points**2).sum(axis=1)
    for start in range(0, len(colours), 2**14):
        some = colours[start : start + 2**14].astype(np.float32)
        places[start : start + 2**14] = (lengths - 2 * some @ points.T).argmin(axis=1)
    return places, np.abs(colours.astype(np.int16) - entries[places]).max(axis=1)


def _representatives(colours: NDArray[np.uint8], counts: NDArray[np.intp], share: int) -> NDArray[np.uint8]:
    """At most ``share`` colours that stand for all, by Pillow's median cut."""
    repeated = np.repeat(colours, np.minimum(counts, 256), axis=0)
    found = Image.fromarray(repeated[None]).quantize(share, Image.Quantize.MEDIANCUT).getpalette("RGB") or []
    return np.unique(np.array(found, np.uint8).reshape(-1, 3)[:share], axis=0)


def as_bits(values: NDArray[np.float32], known: NDArray[np.bool_], filled: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Greys as black or white: clean edges in line art, dots in halftones.

    Args:
        values: ``(n,)`` in 0..1, one for each True in ``filled``.
        known: ``(h, w)``: the image around them.
        filled: ``(h, w)``.

    Returns:
        ``(n,)``, True = white. In line art, white from 50 % grey; in halftones, dithered (Floyd and Steinberg).
    """
    pairs = ~(filled[:, 1:] | filled[:, :-1])
    changes = (known[:, 1:] != known[:, :-1]) & pairs
    if changes.sum() <= HALFTONE * pairs.sum():
        return values >= 0.5
    greys = known.astype(np.uint8) * np.uint8(255)
    greys[filled] = (values * 255).round()
    dots: NDArray[np.bool_] = np.asarray(Image.fromarray(greys).convert("1"))
    return dots[filled]
