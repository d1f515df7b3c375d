"""WebDataset shards: making them, and a stream of samples from them that resumes where it was."""

from __future__ import annotations

import io
import re
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import IterableDataset, get_worker_info
from webdataset.shardlists import expand_urls
from webdataset.tariterators import tarfile_samples

from pconv.errors import ImageFileError, TrainingError
from pconv.files import replacing
from pconv.images.codecs import SUFFIXES
from pconv.images.reading import photo_size
from pconv.masks.strokes import irregular_hole
from pconv.training.config import Stage
from pconv.training.crops import cut, decode, draw_square, reduction_for
from pconv.training.data import DrawHole, Sample, ShardPosition, varied, with_holes

TRIES = 3
"""How often a shard is read that cannot be, a second apart and then two, since networks fail for short times."""


def find_shards(names: Sequence[str]) -> list[str]:
    """Paths, URLs and pipes (``pipe:aws s3 cp s3://... -``) of every shard, with braces and folders expanded.

    Raises:
        TrainingError: a path that is not there, or a folder without .tar files.
    """
    shards: list[str] = []
    for name in names:
        if Path(name).is_dir():
            found = sorted(map(str, Path(name).glob("*.tar")))
            if not found:
                raise TrainingError(
                    f"no shards (.tar) in the folder {name}; make them with: pconv shards PHOTOS -o DIR"
                )
            shards += found
        else:
            shards += expand_urls(name)
    for shard in shards:
        if not re.match(r"\w+:", shard) and not Path(shard).is_file():
            raise TrainingError(f"no shard at {shard}")
    return shards


class ShardedPhotos(IterableDataset[Sample]):
    """An endless stream of crops with holes; each worker of each rank is a reader with its own shards.

    The shards of every epoch are permuted, and so are the photos within each shard, which is kept in memory while it
    is read. All readers together read number 0, 1, 2, ... of that endless sequence of shards: reader k of n the
    numbers k, k + n, k + 2n, and so on. Each sample says where its reader is after it, so that a resumed run reads
    again only the shards that it was in.

    Args:
        positions: where each worker's reader starts.
        readers: how many there are in all.
    """

    def __init__(
        self,
        shards: Sequence[str],
        stage: Stage,
        seed: tuple[int, ...],
        positions: Sequence[ShardPosition] = (ShardPosition(0),),
        readers: int = 1,
        draw_hole: DrawHole = irregular_hole,
    ) -> None:
        self.shards = list(shards)
        self.stage = stage
        self.seed = seed
        self.positions = list(positions)
        self.readers = readers
        self.draw_hole = draw_hole

    def __iter__(self) -> Iterator[Sample]:
        worker = get_worker_info()
        reader, own_number, start = self.positions[worker.id if worker else 0]
        unreadable: list[str] = []
        shards_without_photos = 0  # one after the other
        while True:
            number = own_number * self.readers + reader
            epoch, place = divmod(number, len(self.shards))
            shard = self.shards[np.random.default_rng([*self.seed, 0, epoch]).permutation(len(self.shards))[place]]
            photos = _read_shard(shard, unreadable)
            order = np.random.default_rng([*self.seed, 2, number]).permutation(len(photos))
            shards_without_photos += 1
            for photo in range(start, len(photos)):
                name, content = photos[order[photo]]
                generator = np.random.default_rng([*self.seed, 3, number, photo])
                try:
                    pixels = self._crop(content, name, generator)
                except ImageFileError as error:
                    unreadable.append(str(error))
                    continue
                position = ShardPosition(reader, own_number, photo + 1)
                yield with_holes(pixels, self.stage, self.draw_hole, generator, unreadable, position)
                unreadable = []
                shards_without_photos = 0
            if shards_without_photos > len(self.shards):
                some = f": {unreadable[-1]}" if unreadable else ", they are empty"
                raise TrainingError(f"none of the {len(self.shards)} shards has a photo that can be read{some}")
            own_number, start = own_number + 1, 0

    def _crop(self, content: bytes, name: str, generator: np.random.Generator) -> Any:
        size = photo_size(content, name)
        square = draw_square(*size, self.stage.size, self.stage.smallest_zoom, generator)
        photo = decode(content, size, reduction_for(square.side, self.stage.size), name)
        return varied(cut(photo, square, self.stage.size), self.stage, generator)


def _read_shard(shard: str, unreadable: list[str]) -> list[tuple[str, bytes]]:
    """Names and encoded photos of a shard; one that cannot be read to its end gives what came before."""
    for attempt in range(TRIES):
        photos = []
        try:
            for sample in tarfile_samples([{"url": shard}]):
                key = sample["__key__"]
                if not key.endswith("/"):  # as WebDataset calls hidden files in folders, such as ._x.jpg
                    photos += [(f"{shard}:{key}", sample[kind]) for kind in sample if _is_photo(kind)]
            return photos
        except (OSError, tarfile.TarError, EOFError, ValueError) as error:
            reason = _short(error)
            if attempt + 1 < TRIES:
                time.sleep(2**attempt)
    unreadable.append(f"cannot read {shard} to its end ({reason})")
    return photos


def _short(error: Exception) -> str:
    """What happened, without the command lines and objects that WebDataset puts into its errors."""
    ended = re.search(r"exit \d+", str(error))
    if ended:
        return f"its command ended with {ended[0]}"
    first = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    return first.partition("\n")[0]


def _is_photo(kind: str) -> bool:
    return f".{kind.rpartition('.')[2].lower()}" in SUFFIXES


def write_shards(
    photos: Sequence[Path], out: Path, shard_mb: float, short_side: int | None, seed: int
) -> Iterator[tuple[Path, str | None]]:
    """Write ``photos``, in a random order, to ``shard-00000.tar`` and so on; yield each with why it was left out.

    Files are stored as they are, or, where ``short_side`` (px) is given and the photo is larger, shrunk to it as
    JPEG of quality 95. A shard appears whole, under its name, or not at all.
    """
    shard: list[tuple[str, bytes]] = []
    bytes_left, number = shard_mb * 1e6, 0
    for index in np.random.default_rng(seed).permutation(len(photos)):
        path = photos[index]
        try:
            suffix, content = _for_shard(path, short_side)
        except ImageFileError as error:
            yield path, str(error) or type(error).__name__
            continue
        # WebDataset takes everything after a name's first dot for its kind.
        shard.append((f"{index:08d}-{re.sub('[^A-Za-z0-9_-]', '_', path.stem)}{suffix}", content))
        bytes_left -= len(content)
        if bytes_left <= 0:
            _write_shard(out / f"shard-{number:05d}.tar", shard)
            shard, bytes_left, number = [], shard_mb * 1e6, number + 1
        yield path, None
    if shard:
        _write_shard(out / f"shard-{number:05d}.tar", shard)


def _write_shard(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    with replacing(path) as temporary, tarfile.open(temporary, "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def _for_shard(path: Path, short_side: int | None) -> tuple[str, bytes]:
    """A photo's suffix and file content, read to its end to be sure that it is whole."""
    size = photo_size(path)
    if short_side is None or min(size) <= short_side:
        decode(path, size, 8)
        return path.suffix.lower(), path.read_bytes()
    photo = decode(path, size, reduction_for(min(size), short_side))
    height, width = (round(side * short_side / min(size)) for side in size)
    small = Image.fromarray(photo.pixels).resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    content = io.BytesIO()
    small.save(content, "JPEG", quality=95)
    return ".jpg", content.getvalue()
