"""Makes data/default-vectors.npz: what the reference network gives with the bundled weights, for one photo.

    python tests/nn/make_vectors.py

It is to be run when the bundled weights change, and then the fills are to be looked at.
"""

from pathlib import Path

import numpy as np
import torch
from nets import photo_and_hole
from reference_unet import reference_of

from pconv import load_network
from pconv.models import find_model
from pconv.nn.surface import smooth_surface

VECTORS = Path(__file__).parent / "data" / "default-vectors.npz"
SEEDS = (0, 5, 63)
EVERY = 3
"""Of the output's rows and columns so many are kept: with an odd number each phase of each level is among them."""
STEPS, LEAST, MOST = 65535, -0.5, 1.5
"""The kept values are stored in so many steps between these two."""


def stored(output):
    """``(1, 3, h, w)`` uint16 of an output ``(1, 3, H, W)``."""
    kept = output[..., ::EVERY, ::EVERY].numpy()
    assert kept.min() >= LEAST
    assert kept.max() <= MOST
    return ((kept - LEAST) / (MOST - LEAST) * STEPS).round().astype(np.uint16)


def restored(kept):
    return torch.tensor(kept.astype(np.float32) / STEPS * (MOST - LEAST) + LEAST)


def main():
    torch.manual_seed(0)
    reference = reference_of(load_network(find_model("default"))[0])
    image, hole = photo_and_hole("astronaut", 128, 256)
    hole[..., 20:110, 150:240] = True  # wide, beside the photo's own strokes
    valid = (~hole).float()
    surface = smooth_surface((image - 0.5) * valid, valid > 0, 7) + 0.5
    with torch.no_grad():
        outputs = [stored(reference(image, valid, surface, seed)) for seed in SEEDS]
    pixels = (image * 255).round().to(torch.uint8).numpy()
    np.savez_compressed(
        VECTORS, image=pixels, hole=hole.numpy(), surface=stored(surface), seeds=SEEDS, outputs=np.stack(outputs)
    )
    print(f"{VECTORS}: {VECTORS.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
