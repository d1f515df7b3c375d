import io
import itertools
import shutil
import tarfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from PIL import Image
from servers import serving

from pconv.errors import TrainingError
from pconv.nn.checkpoint import load_network
from pconv.training import shards as shards_module
from pconv.training.checkpoint import load_state
from pconv.training.config import Stage, TrainConfig
from pconv.training.data import ShardPosition
from pconv.training.loading import open_data
from pconv.training.loop import train
from pconv.training.losses import LossWeights
from pconv.training.shards import ShardedPhotos, find_shards, write_shards

STAGE = Stage(steps=6, size=24, batch_size=2, lr=1e-3, loss=LossWeights(perceptual=0, style=0))


@pytest.fixture
def photos(tmp_path):
    """23 photos of one red each, of names with dots and spaces, and a broken one."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(23):
        Image.new("RGB", (30, 40), (10 * i, 0, 0)).save(folder / f"a photo.no.{i}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    return sorted(folder.iterdir())


@pytest.fixture
def shards(photos, tmp_path):
    out = tmp_path / "shards"
    out.mkdir()
    size = photos[0].stat().st_size
    list(write_shards(photos, out, 4.5 * size / 1e6, None, 0))  # five photos each
    return find_shards([str(out)])


def reds(samples):
    return [int(sample.image[0, 0, 0]) for sample in samples]


def names_in(shard):
    with tarfile.open(shard) as tar:
        return tar.getnames()


def test_every_readable_photo_is_in_one_shard_in_a_random_order(photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    written = list(write_shards(photos, out, 0.0005, None, 0))
    assert [path.name for path, reason in written if reason] == ["broken.jpg"]
    names = [name for path in sorted(out.iterdir()) for name in names_in(path)]
    assert len(names) == 23
    assert names != sorted(names)
    assert sorted(names)[0] == "00000000-a_photo_no_0.png"
    first = next(out.iterdir())
    with tarfile.open(first) as tar:
        member = tar.getmembers()[0]
        content = tar.extractfile(member).read()
    assert content in {path.read_bytes() for path in photos}  # as it is, not encoded again


def test_large_photos_can_be_shrunk(tmp_path):
    Image.new("RGB", (400, 300), (9, 99, 199)).save(tmp_path / "a.png")
    list(write_shards([tmp_path / "a.png"], tmp_path, 1, 100, 0))
    with tarfile.open(tmp_path / "shard-00000.tar") as tar:
        image = Image.open(tar.extractfile(tar.getmembers()[0]))
        assert (image.format, image.size) == ("JPEG", (133, 100))


def test_an_epoch_shows_every_photo_once(shards):
    stream = iter(ShardedPhotos(shards, STAGE, (1,)))
    epochs = [reds(itertools.islice(stream, 23)) for _ in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [[10 * i for i in range(23)]] * 2
    assert epochs[0] != epochs[1]


def test_ranks_read_different_shards(shards):
    ranks = range(len(shards))
    first = [reads_alone(shards, rank, len(shards)) for rank in ranks]
    every = [red for part in first for red in part]
    assert sorted(every) == [10 * i for i in range(23)]


def reads_alone(shards, reader, readers):
    """Reds of the first shard that one of many readers reads."""
    samples = iter(ShardedPhotos(shards, STAGE, (1,), [ShardPosition(reader)], readers))
    return reds(itertools.takewhile(lambda sample: sample.position.shard == 0, samples))


def test_more_ranks_than_shards_still_see_different_samples(shards):
    streams = [ShardedPhotos(shards[:1], STAGE, (1,), [ShardPosition(rank)], 3) for rank in range(3)]
    first = [next(iter(stream)) for stream in streams]
    assert not torch.equal(first[0].valid, first[1].valid)
    assert not torch.equal(first[1].valid, first[2].valid)


@pytest.mark.parametrize("stop", [1, 4, 5, 9, 30])
def test_a_stream_goes_on_where_its_state_says_and_reads_one_shard_for_it(shards, stop, monkeypatch):
    whole = list(itertools.islice(ShardedPhotos(shards, STAGE, (1,)), 40))
    opened = []
    read = shards_module._read_shard
    monkeypatch.setattr(shards_module, "_read_shard", lambda name, bad: opened.append(name) or read(name, bad))
    sample = next(iter(ShardedPhotos(shards, STAGE, (1,), [whole[stop - 1].position])))
    assert torch.equal(sample.image, whole[stop].image)
    assert torch.equal(sample.valid, whole[stop].valid)
    assert len(opened) <= 2


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_on_shards_ends_with_the_same_weights(shards, photos, tmp_path, workers):
    config = TrainConfig(
        shards=(str(tmp_path / "shards"),), validation=photos[0].parent, model="tiny", stages=(STAGE,),
        workers=workers, precision="fp32", device="cpu", save_every=1, validate_every=4,
    )  # fmt: skip
    whole, *_ = train(config, tmp_path / "whole")
    part = config.model_copy(update={"stages": (STAGE.model_copy(update={"steps": 3}),)})
    train(part, tmp_path / "part")
    assert len(load_state(tmp_path / "part")["places"][0]) == max(workers, 1)
    resumed, *_ = train(config, tmp_path / "part", resume=True)
    a, b = (load_network(path)[0].state_dict() for path in (whole, resumed))
    assert all(torch.equal(a[name], b[name]) for name in a)
    longer = (STAGE.model_copy(update={"steps": 8}),)
    other = config.model_copy(update={"workers": 3, "stages": longer})
    with pytest.raises(
        TrainingError, match=f"by 1 processes with {max(workers, 1)} workers each: resume with as many"
    ):
        train(other, tmp_path / "part", resume=True)


def test_workers_see_different_samples(shards):
    config = TrainConfig(shards=tuple(shards), model="tiny", stages=(STAGE,), workers=2)
    data = open_data(config, shards_module.Path("run"), 0, 1)
    batches = itertools.islice(iter(data.loader(0, 0, 6, None)), 6)
    seen = [int(red) for batch in batches for red in batch.images[:, 0, 0, 0]]
    assert len(set(seen)) == len(seen) == 12


def test_hidden_files_in_shards_are_no_photos(shards, tmp_path):
    hidden = tmp_path / "hidden.tar"
    with tarfile.open(hidden, "w") as tar, tarfile.open(shards[0]) as source:
        for name in ("._a.png", "__MACOSX/._a.png", "b/.c.jpg"):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"none"))
        for member in source.getmembers():
            tar.addfile(member, source.extractfile(member))
    samples = list(itertools.islice(ShardedPhotos([str(hidden)], STAGE, (1,)), 8))
    assert not any(sample.unreadable for sample in samples)


def test_pipes_braces_and_broken_shards(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(shards_module.time, "sleep", lambda _: None)
    pipe = f"pipe:cat {shards[0]}"
    assert find_shards([pipe]) == [pipe]
    assert find_shards([str(tmp_path / "shards" / "shard-{00000..00002}.tar")]) == shards[:3]
    assert len(reds(itertools.islice(ShardedPhotos([pipe], STAGE, (1,)), 5))) == 5

    content = (tmp_path / "shards" / "shard-00000.tar").read_bytes()
    half = tmp_path / "half.tar"
    half.write_bytes(content[: 2 * 1024 + 512 + 40])  # two members, and half of one
    samples = list(itertools.islice(ShardedPhotos([str(half), shards[1]], STAGE, (1,)), 20))
    assert any(f"{half} to its end (" in name for sample in samples for name in sample.unreadable)
    with tarfile.open(shards[1]) as tar:
        assert len(set(reds(samples))) > len(tar.getnames())  # and some of the half

    (tmp_path / "none.tar").write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="none of the 1 shards has a photo that can be read"):
        next(iter(ShardedPhotos([str(tmp_path / "none.tar")], STAGE, (1,))))
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(TrainingError, match="none of the 1 shards has a photo that can be read, they are empty"):
        next(iter(ShardedPhotos([str(tmp_path / "empty.tar")], STAGE, (1,))))


@pytest.mark.skipif(shutil.which("curl") is None, reason="WebDataset reads URLs with curl")
def test_shards_come_from_urls(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(shards_module.time, "sleep", lambda _: None)
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path / "shards")
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        base = server.url
        urls = find_shards([f"{base}/shard-{{00000..00002}}.tar"])
        assert len(urls) == 3
        streams = (ShardedPhotos(from_, STAGE, (1,)) for from_ in (urls, shards[:3]))
        remote, local = (reds(itertools.islice(stream, 12)) for stream in streams)
        assert remote == local
        with pytest.raises(
            TrainingError, match=r"none\.tar to its end \((its command ended with exit 22|empty file)\)"
        ):
            next(iter(ShardedPhotos([f"{base}/none.tar"], STAGE, (1,))))


def test_shards_that_are_not_there(tmp_path):
    with pytest.raises(TrainingError, match=r"no shards \(.tar\) in the folder"):
        find_shards([str(tmp_path)])
    with pytest.raises(TrainingError, match="no shard at"):
        find_shards([str(tmp_path / "a.tar")])
