"""Image inpainting for irregular holes with partial convolutions (Liu et al., ECCV 2018).

    >>> import pconv
    >>> filled = pconv.inpaint(image, mask)        # PIL images or numpy arrays; white = fill

The public names stand in ``__init__.pyi``. They are imported when they are first used, so that ``import pconv`` is
fast.
"""

from __future__ import annotations

from typing import Any

import lazy_loader

__version__ = "0.1.0"

_attribute, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = [*_names, "__version__"]


def __getattr__(name: str) -> Any:
    try:
        return _attribute(name)
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "safetensors"):
            raise
        raise ModuleNotFoundError(
            f"pconv.{name} needs PyTorch: pip install torch safetensors", name=error.name
        ) from error
