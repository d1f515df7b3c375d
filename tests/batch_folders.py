"""Folders of small photos and masks for the tests of batches."""

import numpy as np
from PIL import Image


def make_folders(root, count, size=(48, 64), suffix=".png", odd=""):
    """``photos`` and ``masks`` below ``root``, in three subfolders; the photo called ``odd`` is 33 px wide."""
    rng = np.random.default_rng(0)
    for i in range(count):
        name = f"s{i % 3}/p{i:03}"
        height, width = (size[0], 33) if f"{name}{suffix}" == odd else size
        hole = np.zeros((height, width), bool)
        hole[10 + i % 20 : 16 + i % 20, 5:-5] = True
        for folder, picture, ending in (
            ("photos", rng.integers(0, 256, (height, width, 3), dtype=np.uint8), suffix),
            ("masks", hole, ".png"),
        ):
            path = root / folder / f"{name}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)


def results(folder):
    """Content of all visible pictures below ``folder`` by name."""
    if not folder.exists():
        return {}
    found = (path for path in folder.rglob("[!.]*") if path.suffix in (".png", ".jpg", ".webp"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}
