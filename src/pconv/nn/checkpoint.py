"""Networks in files: safetensors whose metadata rebuilds the network and tells how it was trained.

A run that is trained has a state beside it, from which the training continues.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pconv.errors import ModelError, TrainingError, is_out_of_memory
from pconv.files import replacing
from pconv.models import check_format
from pconv.nn.unet import PConvUNet, UNetConfig

FORMAT = "pconv-unet-2"
"""What the metadata of our checkpoints say they are; another number where the metadata change."""


BESIDE = "beside."
"""Names of tensors begin with this that are no part of the network."""


def save_network(
    network: PConvUNet,
    path: Path,
    recipe: Mapping[str, Any],
    dtype: torch.dtype | None = None,
    beside: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the weights, the constructor's arguments and the recipe to one safetensors file.

    Args:
        recipe: how the weights came to be, anything JSON can hold.
        dtype: stored precision of floating-point tensors (``torch.float16`` halves the file); None keeps theirs.
        beside: further tensors for ``load_tensors``, such as a grid's coordinates.
    """
    tensors = {
        name: (tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    tensors |= {BESIDE + name: tensor.contiguous().cpu() for name, tensor in (beside or {}).items()}
    metadata = {"format": FORMAT, "config": json.dumps(asdict(network.config)), "recipe": json.dumps(dict(recipe))}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata)


def read_checkpoint(
    path: Path, weights: bool = True
) -> tuple[dict[str, Any], dict[str, Any], dict[str, torch.Tensor]]:
    """Read what ``save_network`` wrote: the constructor's arguments, the recipe and the tensors by name.

    Args:
        path: of the file.
        weights: whether to read the tensors; without them only the file's header is read.

    Raises:
        ModelError: the file is missing, or is not a pconv checkpoint.
    """
    if not path.is_file():
        raise ModelError(f"no model file at {path}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            names = [name for name in file.keys() if not name.startswith(BESIDE)] if weights else []  # noqa: SIM118
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a complete safetensors file ({error}); give a checkpoint of pconv") from error
    check_format(path, metadata.get("format"), FORMAT)
    try:
        config = json.loads(metadata["config"])
        if config.pop("membrane", False):  # format 1's name for a surface
            config["surface"] = "trust"
        return config, json.loads(metadata.get("recipe", "{}")), tensors
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path}: its metadata does not describe a network ({error})") from error


def load_weights(network: nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Load a checkpoint's tensors into the network that they belong to, all of them by name.

    Raises:
        ModelError: they belong to another network; ``path`` names the file in the message.
    """
    for name, buffer in network.named_buffers():
        if name.endswith("num_batches_tracked"):  # not stored, and read by nothing
            tensors[name] = torch.zeros_like(buffer)
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        missing_or_wrong = " ".join(str(error).split()[6:])
        raise ModelError(f"{path}: its tensors are not those of its network: {missing_or_wrong}") from error


def load_network(path: Path, device: torch.device | str = "cpu") -> tuple[PConvUNet, dict[str, Any]]:
    """Read what ``save_network`` wrote: the network in fp32 and evaluation mode, and its recipe.

    Raises:
        ModelError: the file is missing, is not a pconv checkpoint, or its tensors are not those of its network.
    """
    config, recipe, tensors = read_checkpoint(path)
    try:
        with torch.device("meta"):
            network = PConvUNet(UNetConfig(**config))
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: its metadata does not describe a network ({error})") from error
    network.to_empty(device=device)
    load_weights(network, tensors, path)
    return network.eval().requires_grad_(False), recipe


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors that ``save_network`` wrote beside the network, by their names."""
    with safe_open(path, "pt") as file:
        names = [name for name in file.keys() if name.startswith(BESIDE)]  # noqa: SIM118 (not a dict)
        return {name.removeprefix(BESIDE): file.get_tensor(name) for name in names}


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write ``state`` (tensors and plain values only).

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # PyTorch's own, about the file's position, covers the system's
            while error.__context__:
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                error = error.__context__  # type: ignore[assignment]
            raise


def read_state(path: Path) -> dict[str, Any]:
    """Read what ``save_state`` wrote, onto the CPU. Nothing in the file is executed.

    Raises:
        TrainingError: the file cannot be read, or is no such state.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        if is_out_of_memory(error):
            raise
        raise TrainingError(f"{path} is not the state of a training run, or is damaged") from error
    if not isinstance(state, dict):
        raise TrainingError(f"{path} is not the state of a training run")
    return state
