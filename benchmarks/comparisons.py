"""What do the paper's ideas gain in minutes on one core? Trains on equal crops, and fills the same holes.

    python benchmarks/comparisons.py plain --photos MY_PHOTOS --test OTHER_PHOTOS -o runs/comparisons --vgg VGG16
    python benchmarks/comparisons.py rectangles --photos MY_PHOTOS --test OTHER_PHOTOS -o runs/comparisons --vgg VGG16
    python benchmarks/comparisons.py paper --photos MY_PHOTOS --test OTHER_PHOTOS -o runs/comparisons --vgg VGG16
    python benchmarks/comparisons.py losses --photos MY_PHOTOS --test OTHER_PHOTOS -o runs/comparisons --vgg VGG16 \
        --start runs/comparisons/plain/partial-convolutions-1/model.safetensors

plain: partial against plain convolutions whose holes are filled with the mean. rectangles: irregular holes against one
rectangle per crop. paper: the default recipe against the paper's network and loss, the same time instead of the same
crops. losses: L1, the paper's loss and the default model's last one, each from the weights of ``--start``.
Trainings that are done are not repeated. A table in Markdown comes last.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, cast

import click
import numpy as np
import torch
from common import processor
from PIL import Image

from pconv.evaluation.metrics import vgg_distance, vgg_features
from pconv.images.reading import find_photos
from pconv.masks.strokes import RATIO_BINS, irregular_hole
from pconv.nn.checkpoint import load_network
from pconv.nn.plain import load_plain
from pconv.nn.unet import PConvUNet, composite
from pconv.report.sheet import in_rows, titled
from pconv.training.data import Batch
from pconv.training.features import VGG16Features, load_vgg
from pconv.training.holes import rectangle_hole
from pconv.training.validation import measured_by_bin, validation_set

TEST_SIZE = 256
TEST_SEED = 7
PER_BIN = 20


class Variant(NamedTuple):
    """One training: its name in the table, its configuration, and changes to it."""

    name: str
    config: str
    overrides: tuple[str, ...] = ()


LOSSES = str(Path(__file__).with_name("losses.toml"))
LAST_LOSS = "{ valid = 0.0, hole = 0.0, perceptual = 0.0, style = 0.0, tv = 0.0, rim = 12.0 }"
PAPER_ROW = ("stages.0.size=256", "stages.0.batch_size=6", "precision=auto")
COMPARISONS: dict[str, tuple[Variant, ...]] = {
    "plain": (
        Variant("partial convolutions", "ablation"),
        Variant("plain convolutions, hole filled with the mean", "ablation", ("convolution=plain-imagenet-mean",)),
    ),
    "rectangles": (
        Variant("irregular holes", "ablation", ("stages.0.holes=irregular", "stages.0.dense_thin_share=0")),
        Variant("rectangles", "ablation", ("stages.0.holes=rectangle", "stages.0.dense_thin_share=0")),
    ),
    "paper": (
        Variant("the default network and recipe, 128 px", "default"),
        Variant("the paper's network and loss, 256 px", "paper", PAPER_ROW),
    ),
    "losses": (
        Variant("L1", LOSSES),
        Variant("the paper's loss", LOSSES, ("stages.0.loss={}",)),
        Variant("the paper's loss with style 6 for 120", LOSSES, ("stages.0.loss={ style = 6.0 }",)),
        Variant(
            "the default model's last loss",
            LOSSES,
            (f"stages.0.loss={LAST_LOSS}", "stages.0.texture={}", "stages.0.balance=0.7"),
        ),
    ),
}
HOLES = {"irregular": irregular_hole, "rectangle": rectangle_hole}


def trained(
    variant: Variant,
    seed: int,
    folder: Path,
    photos: Path,
    vgg: Path | None,
    minutes: float | None,
    start: Path | None,
) -> float:
    """Train ``variant`` in a process of its own on one core; the minutes it took, also where it was done before."""
    took = folder / "minutes.txt"
    if not took.exists():
        call = [sys.executable, "-m", "pconv", "train", variant.config, *variant.overrides, f"photos={photos}"]
        call += [f"seed={seed}", "--out", str(folder), *(["--vgg", str(vgg)] if vgg else [])]
        call += [f"init={start}"] if start else []
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "state.pt").exists():  # it was interrupted; the minutes are those of the rest
            call.append("--resume")
        begun = time.perf_counter()
        with (folder / "log.txt").open("w") as log:
            run = subprocess.Popen(call, stderr=log, stdout=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
            try:
                run.wait(None if minutes is None else 60 * minutes)
            except subprocess.TimeoutExpired:
                run.send_signal(signal.SIGTERM)  # the step ends and the model is saved
                run.wait()
        if run.returncode not in (0, 128 + signal.SIGTERM):
            raise click.ClickException(f"the training ended with exit code {run.returncode}: see {folder / 'log.txt'}")
        took.write_text(f"{(time.perf_counter() - begun) / 60:.1f}")
    return float(took.read_text())


@click.command()
@click.argument("comparison", type=click.Choice(list(COMPARISONS)))
@click.option("--photos", type=click.Path(path_type=Path, exists=True), required=True, help="To train on.")
@click.option("--test", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of other photos.")
@click.option("-o", "--output", "out", type=click.Path(path_type=Path), required=True, help="Folder for the runs.")
@click.option(
    "--vgg", type=click.Path(path_type=Path, exists=True), help="VGG-16 weights; adds VGG and Gram distance."
)
@click.option("--seeds", default=2, show_default=True, help="Trainings of each kind.")
@click.option("--jobs", default=2, show_default=True, help="Trainings at once, one core each.")
@click.option("--minutes", default=20.0, show_default=True, help="Of each training of the paper comparison.")
@click.option("--start", type=click.Path(path_type=Path, exists=True), help="Weights that losses starts from.")
@click.option("--picture", type=click.Path(path_type=Path), help="Where to write fills by each network.")
def main(
    comparison: str,
    photos: Path,
    test: Path,
    out: Path,
    vgg: Path | None,
    seeds: int,
    jobs: int,
    minutes: float,
    start: Path | None,
    picture: Path | None,
) -> None:
    if comparison == "losses" and not (start and vgg):
        raise click.UsageError("losses needs --start MODEL, a tiny network's weights, and --vgg")
    if start and comparison != "losses":
        raise click.UsageError(f"--start belongs to losses, not to {comparison}")
    jobs_of = [(variant, seed) for seed in range(1, seeds + 1) for variant in COMPARISONS[comparison]]
    folders = {
        (v.name, seed): out / comparison / f"{v.name.split(',')[0].replace(' ', '-')}-{seed}" for v, seed in jobs_of
    }
    limit = minutes if comparison == "paper" else None
    with ThreadPoolExecutor(jobs) as pool:
        took = list(
            pool.map(
                lambda job: trained(job[0], job[1], folders[job[0].name, job[1]], photos, vgg, limit, start),
                jobs_of,
            )
        )

    kinds = tuple(HOLES) if comparison == "rectangles" else ("irregular",)
    tested = find_photos(test)
    batches = {
        kind: validation_set(tested, TEST_SIZE, TEST_SEED, per_bin=PER_BIN, draw_hole=HOLES[kind]) for kind in kinds
    }
    features = load_vgg(vgg, 2) if vgg else None
    bins = " | ".join(f"{low:g}-{high:g}" for low, high in RATIO_BINS)
    print(f"{processor()}, one core for each training; PSNR of the composite in dB, {TEST_SIZE} px\n")
    print(f"| trained with | seed | minutes | test holes | {bins} | mean | VGG distance | Gram distance |")
    print("|---" * (len(RATIO_BINS) + 7) + "|")
    networks: dict[str, PConvUNet] = {}
    for (variant, seed), minutes_taken in zip(jobs_of, took, strict=True):
        path = folders[variant.name, seed] / "model.safetensors"
        plain = any(each.startswith("convolution=plain") for each in variant.overrides)
        network = cast(PConvUNet, load_plain(path)) if plain else load_network(path)[0]
        networks.setdefault(variant.name, network)
        for kind in kinds:
            figures = measured_by_bin(network, batches[kind], torch.device("cpu"), features)
            levels = " | ".join(f"{level:.2f}" for level in (*figures.psnr, np.mean(figures.psnr)))
            measures = ["", ""]
            if features is not None:
                measures = [f"{mean_vgg_distance(network, batches[kind], features):.3f}", f"{figures.gram:.3f}"]
            print(
                f"| {variant.name} | {seed} | {minutes_taken:.0f} | {kind} | {levels} | {' | '.join(measures)} |",
                flush=True,
            )
    if picture:
        draw(networks, batches["irregular"], picture)


@torch.no_grad()
def mean_vgg_distance(network: PConvUNet, batches: Sequence[Batch], vgg: VGG16Features) -> float:
    """Of the composites (``pconv evaluate`` has the same measure)."""
    distances = []
    for batch in batches:
        for filled, truth in zip(composites(network, batch), batch.images, strict=True):
            pair = [vgg_features(vgg, image.permute(1, 2, 0).numpy()) for image in (filled, truth)]
            distances.append(vgg_distance(*pair))
    return float(np.mean(distances))


@torch.no_grad()
def composites(network: PConvUNet, batch: Batch) -> torch.Tensor:
    """The filled images, ``(B, 3, H, W)`` uint8."""
    truth = batch.images.float() / 255
    return (composite(truth, network.eval()(truth, batch.valid).clamp(0, 1), batch.valid) * 255).round().byte()


def draw(networks: Mapping[str, PConvUNet], batches: Sequence[Batch], picture: Path) -> None:
    """A row for every second bin's first image: its hole, each network's fill with the lowest seed, the truth."""
    names = ["hole", *(name[:40] for name in networks), "truth"]
    rows = []
    for batch in batches[1::2]:
        truth, valid = batch.images[:1], batch.valid[:1]
        first = Batch(truth, valid, batch.distance[:1], (), None)
        fills = [composites(network, first) for network in networks.values()]
        tiles = [torch.where(valid, truth, 255).byte(), *fills, truth]
        images = [Image.fromarray(tile[0].permute(1, 2, 0).numpy()) for tile in tiles]
        rows.append(images if rows else [titled(image, name) for image, name in zip(images, names, strict=True)])
    in_rows(rows).save(picture)


if __name__ == "__main__":
    main()
