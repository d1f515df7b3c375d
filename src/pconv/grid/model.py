"""A trained model of one data set: the network with all that it needs to fill a file of the same kind."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pconv.errors import InputError, ModelError
from pconv.files import sha256_of
from pconv.grid.axes import Bools, Grid
from pconv.grid.error_table import ErrorTable
from pconv.grid.modes import Modes
from pconv.grid.network import halo, wrap
from pconv.grid.normalise import Fields, Normalisation
from pconv.nn.checkpoint import load_network, load_tensors, save_network
from pconv.nn.unet import PConvUNet

MODEL_FILE = "model.safetensors"
BATCH_CELLS = 600_000
"""Cells, halo included, that go through the network at a time."""


@dataclass(eq=False)
class GridModel:
    """What ``pconv grid train`` makes.

    Attributes:
        variables, units: in the order of the channels.
        grid: on which it was trained; files are turned to the same order inside.
        domain: ``(V, H, W)``: cells that were known at least once; the others are never filled unless asked for.
        normalisation: from the training steps.
        context: steps before and after that the network sees.
        modes: of the first guess; None where the steps did not suffice or it did not help.
        errors: None while training.
        facts: how it was trained, for people; anything that JSON can hold.
        seen: fingerprints of the training steps (``fingerprints``).
        sha256: of the file; empty before it was written.
    """

    network: PConvUNet
    variables: tuple[str, ...]
    units: tuple[str, ...]
    grid: Grid
    domain: Bools
    normalisation: Normalisation
    context: int = 0
    modes: Modes | None = None
    errors: ErrorTable | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    seen: tuple[str, ...] = ()
    sha256: str = ""

    @property
    def anomalies(self) -> bool:
        return bool(self.facts.get("anomalies"))

    def save(self, path: Path) -> None:
        """Write one safetensors file: pconv's checkpoint with this model's arrays beside the network's."""
        assert self.errors is not None
        recipe = {
            "kind": "grid",
            "variables": list(self.variables),
            "units": list(self.units),
            "degrees": self.grid.degrees,
            "periodic": self.grid.periodic,
            "context": self.context,
            "facts": self.facts,
            "seen": list(self.seen),
            "inflation": self.modes.inflation if self.modes else None,
        }
        arrays = {
            "y": np.asarray(self.grid.y, np.float64),
            "x": np.asarray(self.grid.x, np.float64),
            "domain": self.domain.astype(np.uint8),
            "climatology": self.normalisation.climatology,
            "scale": self.normalisation.scale,
            "error_by_distance": self.errors.by_distance,
            "error_place": self.errors.place,
            "error_counts": self.errors.counts,
        }
        tensors = {name: torch.tensor(np.ascontiguousarray(array)) for name, array in arrays.items()}
        if self.modes:
            tensors |= {"patterns": self.modes.patterns.half(), "variances": self.modes.variances}
            tensors["noise"] = self.modes.noise
        save_network(self.network, path, recipe, beside=tensors)
        self.sha256 = sha256_of(path)

    def check(self, grid: Grid, units: Mapping[str, str], where: str) -> None:
        """Refuse a file that this model was not trained for.

        Args:
            grid: of the file.
            units: of its variables, by name.
            where: the file, for the message.

        Raises:
            InputError: other variables, units, cells or longitudes.
        """
        if set(units) != set(self.variables):
            raise InputError(
                f"the model was trained on {', '.join(self.variables)}, not on {', '.join(units)}; train one for it"
            )
        for name, own in zip(self.variables, self.units, strict=True):
            if units[name].strip() != own.strip():
                raise InputError(
                    f"{where} has {name} in {units[name] or 'no units'!r}, and the model was trained in "
                    f"{own or 'no units'!r}; convert the file first"
                )
        why = grid.mismatch(self.grid.y, self.grid.x)
        if why:
            raise InputError(f"{where} is not on the model's grid: {why}; train a model for this grid")
        if grid.periodic != self.grid.periodic or grid.degrees != self.grid.degrees:
            raise InputError(
                f"{where} is read in another way than in training: give the same --periodic and --no-area as there"
            )

    def predict(
        self,
        values: Fields,
        months: NDArray[np.int64] | None,
        linked: Bools,
        steps: Sequence[int],
        device: torch.device | str = "cpu",
    ) -> Fields:
        """What the network says for ``steps``, everywhere, in physical units.

        Args:
            values: ``(T, V, H, W)``, NaN where not observed; the steps around ``steps`` are its context.
            months: of each of them, 1 to 12.
            linked: ``(T - 1,)``: whether the next follows at the usual distance.
        """
        if self.anomalies and len(self.normalisation.climatology) == 12 and months is None:
            raise InputError("the model works on anomalies from a monthly climatology, and the months are not known")
        normal = torch.from_numpy(self.normalisation.normal(values, months)).to(device)
        valid = torch.isfinite(normal)
        normal = torch.where(valid, normal, 0)
        network = self.network.to(device).eval()
        height, width = self.grid.shape
        around = halo(network.config) if self.grid.periodic else 0
        size = max(1, BATCH_CELLS // (height * (width + 2 * around)))
        outputs = []
        for start in range(0, len(steps), size):
            index, usable = neighbours(linked, steps[start : start + size], self.context)
            image, known = stack(normal, valid, index, usable)
            with torch.inference_mode():
                output = forward(network, self.modes, image, known, around)
            outputs.append(output[:, : len(self.variables)].float().cpu().numpy())
        own = months[list(steps)] if months is not None else None
        return self.normalisation.physical(np.concatenate(outputs), own).astype(np.float32)


def forward(network: PConvUNet, modes: Modes | None, image: Tensor, valid: Tensor, around: int) -> Tensor:
    """The first guess, and the network's correction from what it leaves of the known cells; ``(B, C, H, W)``.

    Args:
        around: columns to wrap around each side.
    """
    width = image.shape[-1]
    guess = modes.to(image.device).guess(image, valid) if modes else torch.zeros_like(image)
    output: Tensor = network(wrap(image - guess, around), wrap(valid, around))
    return output[..., around : around + width] + guess


def neighbours(linked: Bools, steps: Sequence[int], context: int) -> tuple[NDArray[np.int64], Bools]:
    """The steps that the network sees for each of ``steps``, ``(B, 1 + 2 context)``, the step itself first.

    Returns:
        Their numbers, and whether each is there: inside the series, and without a jump in time between.
    """
    total = len(linked) + 1
    series = np.concatenate([[0], np.cumsum(~linked)])
    index = np.asarray(steps)[:, None] + offsets(context)
    inside = (index >= 0) & (index < total)
    index = index.clip(0, total - 1)
    return index, inside & (series[index] == series[np.asarray(steps)][:, None])


def offsets(context: int) -> NDArray[np.int64]:
    """0, -1, 1, -2, 2, ..."""
    return np.array([0] + [sign * far for far in range(1, context + 1) for sign in (-1, 1)])


def stack(normal: Tensor, valid: Tensor, index: NDArray[np.int64], usable: Bools) -> tuple[Tensor, Tensor]:
    """Steps ``(T, V, H, W)`` as the network's channels ``(B, (1 + 2 context) V, H, W)``, with their validity."""
    chosen = torch.from_numpy(index)
    image = normal[chosen].flatten(1, 2)
    known = valid[chosen] & torch.from_numpy(usable)[:, :, None, None, None].to(valid.device)
    return image, known.flatten(1, 2)


def load_model(path: str | Path) -> GridModel:
    """Read what ``pconv grid train`` wrote: its folder, or the file in it.

    Raises:
        ModelError: there is none, or it is another kind of model.
    """
    file = Path(path) / MODEL_FILE if Path(path).is_dir() else Path(path)
    network, recipe = load_network(file)
    if recipe.get("kind") != "grid":
        raise ModelError(f"{file} is no model of gridded data; make one with: pconv grid train")
    tensors = load_tensors(file)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    modes = None
    if "patterns" in tensors:
        patterns = tensors["patterns"].float()
        modes = Modes(patterns, tensors["variances"], tensors["noise"], recipe["inflation"])
    return GridModel(
        network=network,
        variables=tuple(recipe["variables"]),
        units=tuple(recipe["units"]),
        grid=Grid(arrays["y"], arrays["x"], recipe["degrees"], recipe["periodic"]),
        domain=arrays["domain"] != 0,
        normalisation=Normalisation(arrays["climatology"], arrays["scale"]),
        context=recipe["context"],
        modes=modes,
        errors=ErrorTable(arrays["error_by_distance"], arrays["error_place"], arrays["error_counts"]),
        facts=recipe["facts"],
        seen=tuple(recipe["seen"]),
        sha256=sha256_of(file),
    )


def fingerprints(values: Fields) -> list[str]:
    """One for each step ``(T, V, H, W)``, by which a step that a model has seen is known again."""
    return [hashlib.sha256(np.nan_to_num(step, nan=9e36).tobytes()).hexdigest()[:16] for step in values]
