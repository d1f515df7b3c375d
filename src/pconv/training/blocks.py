"""Learning the transforms of :mod:`pconv.nn.blocks`: ``python -m pconv.training.blocks PHOTOS TRANSFORMS``.

For each kind of block (sixteen directions, and none) the orthonormal transform in which blocks of that kind are
sparsest. Beginning with their principal components, the coefficients are shrunk as filling shrinks them, and the
transform becomes the one that comes nearest to the blocks from there (orthogonal Procrustes, Schönemann 1966); again
and again (Lesage et al., "Learning unions of orthonormal bases with thresholded singular value decomposition", 2005).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pconv.files import replacing
from pconv.nn.blocks import BLOCK, Coefficients, kinds_of, shares
from pconv.training.crops import Pixels, decode, photos_below, upright_size

KINDS = 17
COEFFICIENTS = 144
"""So many of the 256 are kept, the coarsest; with all of them fills were not better (docs/training-log.md)."""
THRESHOLD = np.float32(0.05)
ROUNDS = 60
FROM_PHOTO = 150
"""Blocks that are drawn from each photo, and turned over to have twice as many."""
FLAT = 2e-4
"""Blocks of less variance say nothing."""

Blocks = NDArray[np.float32]


def learned(photos: Iterable[Pixels], rounds: int = ROUNDS, seed: int = 0) -> NDArray[np.float16]:
    """Transforms, ``(17, 144, 256)``, from photos ``(H, W, 3)``: of each the mean first, then from coarse to fine."""
    found: list[list[Blocks]] = [[] for _ in range(KINDS)]
    for blocks in _drawn(photos, np.random.default_rng(seed)):
        kinds = kinds_of(blocks.mean(axis=0), KINDS)
        for kind, alike in enumerate(found):
            alike.append(blocks[:, kinds == kind])
    transforms = [_transform(np.concatenate(alike, axis=1), kind > 0, rounds) for kind, alike in enumerate(found)]
    return np.stack([_coarsest(transform) for transform in transforms]).astype(np.float16)


def _drawn(photos: Iterable[Pixels], generator: np.random.Generator) -> Iterator[Blocks]:
    """Blocks ``(3, n, 256)`` of mean 0."""
    for photo in photos:
        if min(photo.shape[:2]) < BLOCK:
            continue
        windows = sliding_window_view(photo, (BLOCK, BLOCK), axis=(0, 1))
        rows, columns = (generator.integers(side, size=FROM_PHOTO) for side in windows.shape[:2])
        blocks = windows[rows, columns].astype(np.float32).swapaxes(0, 1) / 255
        blocks = np.concatenate([blocks, blocks.swapaxes(2, 3)], axis=1)
        blocks -= blocks.mean(axis=(2, 3), keepdims=True)
        telling = np.square(blocks).mean(axis=(0, 2, 3)) > FLAT
        yield np.asarray(blocks[:, telling].reshape(3, -1, BLOCK * BLOCK), np.float32)


def _transform(blocks: Blocks, directed: bool, rounds: int) -> Coefficients:
    """The orthonormal transform, ``(256, 256)``, in which ``(3, n, 256)`` blocks are sparsest; row 0 is the mean."""
    transform = _principal(blocks) if directed else cosines()
    for _ in range(rounds):
        towards = 1e5 * np.outer(np.eye(BLOCK**2)[0], transform[0])  # the mean stays the mean
        for part in np.array_split(blocks, max(blocks.shape[1] // 8192, 1), axis=1):
            coefficients: Coefficients = part @ transform.T
            coefficients *= shares(coefficients, THRESHOLD)
            towards += np.tensordot(coefficients, part, axes=((0, 1), (0, 1)))
        left, _, right = np.linalg.svd(towards + 1e-6 * transform)
        transform = (left @ right).astype(np.float32)
    return transform


def cosines() -> Coefficients:
    """The orthonormal two-dimensional cosine transform (DCT-II) of a flat block; its inverse is its transpose."""
    frequency, place = np.arange(BLOCK)[:, None], np.arange(BLOCK) + 0.5
    one = np.cos(np.pi / BLOCK * frequency * place) * np.sqrt(2 / BLOCK)
    one[0] /= np.sqrt(2)
    return np.kron(one, one).astype(np.float32)


def _principal(blocks: Blocks) -> Coefficients:
    """The mean, and the principal components of what is left of the blocks."""
    flat = blocks.reshape(-1, BLOCK**2)
    mean = np.full((1, BLOCK**2), 1 / BLOCK, np.float32)
    components = np.linalg.eigh(flat.T @ flat)[1].T[::-1]
    components -= components @ mean.T * mean
    rows = np.linalg.qr(np.concatenate([mean, components[:-1]]).T)[0].T
    return np.asarray(rows * np.sign(rows[0, 0]), np.float32)


def _coarsest(transform: Coefficients) -> Coefficients:
    """The mean and the rows with the smallest gradients."""
    rows = transform.reshape(-1, BLOCK, BLOCK)
    steep = sum(np.square(np.diff(rows, axis=axis)).sum(axis=(1, 2)) for axis in (1, 2))
    return transform[np.argsort(steep, kind="stable")[:COEFFICIENTS]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, help="a folder of photos")
    parser.add_argument("transforms", type=Path, help="where to write them (.npy)")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    pixels = (decode(path, upright_size(path)).pixels for path in photos_below(given.photos))
    found = learned(pixels, given.rounds)
    with replacing(given.transforms) as temporary, temporary.open("wb") as file:
        np.save(file, found)


if __name__ == "__main__":
    main()
