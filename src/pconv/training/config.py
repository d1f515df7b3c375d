"""A training run's settings: a TOML file or a preset, and ``key=value`` overrides, read into one checked object."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pconv.errors import InputError
from pconv.files import replacing
from pconv.masks.superres import MULTIPLE
from pconv.nn.unet import PRESETS, UNetConfig
from pconv.training.losses import LossWeights
from pconv.training.texture import TextureWeights

Ratio = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class _Checked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Stage(_Checked):
    """One part of a training: a crop size, a batch size, a learning rate, a loss."""

    steps: int = Field(gt=0)
    size: int = Field(gt=0, description="side of the square crops, px")
    batch_size: int = Field(gt=0)
    """Of one optimiser step, all processes and accumulated parts together."""
    lr: float = Field(gt=0)
    """The highest learning rate."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """Cosine falls from lr to 0 over the stage, linear over its last part, which decay says."""
    decay: float = Field(0.33, gt=0, le=1)
    """The share of the stage, at its end, over which the linear schedule falls to 0."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the learning rate rises to lr, and the adversarial terms to their weights."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """Muon (Jordan et al. 2024, ``pconv.training.muon``) takes the weights of all convolutions but the first and the
    last, and AdamW the rest. A stage with another optimiser or betas than the one before begins it anew, from the
    averaged weights."""
    adamw_lr: float | None = Field(None, gt=0)
    """AdamW's highest learning rate beside Muon; without one, lr."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """AdamW's decays of the first and the second moment."""
    clip_norm: float | None = Field(None, gt=0)
    """The gradient's norm is limited to this."""
    loss: LossWeights = LossWeights()
    """The paper's; perceptual and style need VGG-16's weights."""
    balance: float = Field(0.0, ge=0, le=1)
    """From 0 to 1, how much small holes count in L_hole and in the rim term: 0 is the paper's mean over the whole
    image, 1 the mean over each image's hole (``pconv.training.losses.hole_loss``)."""
    rim_reach: float = Field(3.5, gt=0)
    """The depth in the hole, px, at which a pixel counts half in the rim term (``losses.rim_weight``)."""
    composite_only: bool = False
    """The perceptual and style terms look at the composite alone; the paper's look at the output too."""
    texture: TextureWeights | None = None
    """The terms of ``pconv.training.texture``, with their discriminators; those on features need VGG-16's weights.
    {} takes the bundled model's weights, and false leaves all terms out."""
    discriminator_lr: float = Field(4e-4, gt=0)
    """The discriminators' highest learning rate (AdamW)."""
    network: dict[str, Any] = Field(default_factory=dict)
    """Fields of ``pconv.UNetConfig`` in which this stage's network has less than the model, such as
    {noise_levels = 0}. What a later stage adds begins as something that changes nothing, or little."""
    mixture: Share = 1.0
    """The share of this stage's averaged weights in the saved model; the rest are those with which the stage began.
    A mixture of weights lies between two networks in what they do, if one was trained from the other."""
    holes: Literal["irregular", "mixed", "rectangle", "superres"] = "irregular"
    """Synthetic holes: ``pconv.irregular_hole``; 55 % of them, 30 % blobs and 15 % few thin strokes, in parts and
    sizes of their own; or one rectangle, for comparison. Without meaning where there is a folder of masks. With
    superres the network sees the crop shrunk by 2, 3 or 4, its pixels spread by ``pconv.superres_input``."""
    dense_thin_share: Share = 0.0
    """The share of mixed holes that are dense thin lines instead (``pconv.dense_thin_hole``)."""
    hole_ratio: tuple[Ratio, Ratio] = (0.01, 0.6)
    """Lowest and highest hole ratio; of mixed holes, that of the irregular ones before they are cropped."""
    smallest_zoom: float = Field(1.0, gt=0, le=1)
    """Crops are shrunk by a random factor from this to 1, as far as the photo is large enough; 1 shrinks none."""
    turned_share: Share = 0.0
    """The share of crops that are turned by 90, 180 or 270 degrees."""
    recoloured_share: Share = 0.0
    """The share of crops whose gamma, saturation and channel gains are changed (``pconv.training.crops``)."""
    freeze_norm: bool = False
    """All batch norms keep their statistics; their affine parameters are trained."""
    freeze_encoder_norm: bool = False
    """Stage 2 of the paper: the encoder's batch-norm statistics and affine parameters stay as they are."""

    @field_validator("texture", mode="before")
    @classmethod
    def _without_texture(cls, value: Any) -> Any:
        return None if value is False else value

    @model_validator(mode="after")
    def _ordered(self) -> Stage:
        if self.hole_ratio[0] > self.hole_ratio[1]:
            raise ValueError(f"hole_ratio needs low <= high, got {self.hole_ratio}")
        if self.dense_thin_share and self.holes != "mixed":
            raise ValueError(f"dense_thin_share belongs to holes = 'mixed', and holes is {self.holes!r}")
        if self.holes == "superres":
            if self.size % MULTIPLE:
                raise ValueError(f"holes = 'superres' needs a multiple of {MULTIPLE} as size; got {self.size}")
            terms = {name for name, weight in dataclasses.asdict(self.loss).items() if weight}
            if self.texture or not terms <= {"valid", "hole"}:
                raise ValueError("holes = 'superres' has the loss terms valid and hole alone; set the others to 0")
        if self.adamw_lr and self.optimizer != "muon":
            raise ValueError("adamw_lr belongs to optimizer = 'muon'; set lr")
        return self

    @property
    def needs_features(self) -> bool:
        """Whether VGG-16 has to be there."""
        return self.loss.needs_features or (self.texture is not None and self.texture.needs_features)


class TrainConfig(_Checked):
    """Everything that decides the outcome of a run; defaults are the paper's where the paper names a value."""

    photos: Path | None = None
    """Folder of photos, read recursively. Either this or shards."""
    shards: tuple[str, ...] = ()
    """WebDataset shards: paths, URLs or pipes, with {000..099} for many; or folders of .tar files."""
    validation: Path | None = None
    """Folder of photos for validation; without one, every 50th of photos is kept from training for it."""
    masks: Path | None = None
    """Folder of mask files for the holes, augmented as the authors do; without one, synthetic holes."""
    mask_polarity: Literal["auto", "white-hole", "white-valid"] = "auto"
    model: str = "small"
    """Preset of the network, see pconv.nn.PRESETS."""
    convolution: Literal["partial", "plain-grey", "plain-imagenet-mean"] = "partial"
    """Plain ones are the paper's comparison: the same network with nn.Conv2d, its holes filled with 127.5 or with the
    ImageNet mean; for pconv evaluate --plain-model."""
    init: Path | None = None
    """Checkpoint to start the weights from, of the same network or one with further inner levels; "default" is the
    bundled model."""
    vgg: Path | None = None
    """VGG-16 weights for the perceptual and style terms; without a file, torchvision's are downloaded once."""
    stages: tuple[Stage, ...] = Field(min_length=1)
    accumulate: int = Field(1, gt=0)
    """Micro-batches of each process in one optimiser step, computed one after the other to save memory."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's; 0 makes it the paper's Adam."""
    batch_norm_momentum: float = Field(0.1, gt=0, le=1)
    """The weight of a batch in batch norm's running statistics."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Decay of the averaged weights, which are what is saved for use; 0 keeps the last weights."""
    sync_batch_norm: bool = False
    """Batch-norm statistics over all processes (GPUs only)."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Of the convolutions. Auto measures once whether the processor is faster in bf16; GPUs that have it use it."""
    compile: bool = False
    """Compile the network with ``torch.compile``: minutes at the start of each stage, then faster steps on GPUs."""
    device: str = "auto"
    seed: int = Field(0, ge=0)
    workers: int = Field(2, ge=0)
    """Loader processes, for each training process."""
    cache_gb: float = Field(2.0, ge=0)
    """Memory for decoded photos, all workers of a process together."""
    log_every: int = Field(50, gt=0)
    validate_every: int = Field(1000, gt=0)
    """Steps between validations: PSNR for each bin of hole ratios, and a contact sheet."""
    save_every: int = Field(500, gt=0)

    @field_validator("shards", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _trainable(self) -> TrainConfig:
        if (self.photos is None) == (not self.shards):
            raise ValueError("set one of photos=FOLDER and shards=SHARDS")
        if self.init and self.convolution != "partial":
            raise ValueError("init starts from a network of partial convolutions; leave it out for a plain one")
        if self.model not in PRESETS:
            raise ValueError(f"unknown model {self.model!r}; known are {', '.join(PRESETS)}")
        superres = {stage.holes == "superres" for stage in self.stages}
        if len(superres) > 1 or (self.masks and True in superres):
            raise ValueError("holes = 'superres' must be that of all stages, without masks")
        for number, stage in enumerate(self.stages):
            try:
                network = self.network(stage)
            except (TypeError, ValueError) as error:
                raise ValueError(f"stages.{number}.network: {error}") from error
            if not network.fits_into(PRESETS[self.model]):
                raise ValueError(f"stages.{number}.network can only have fewer blocks and noise_levels than the model")
            if number and not self.network(self.stages[number - 1]).fits_into(network):
                raise ValueError(f"stages.{number}.network has less than the stage before, and can only have more")
        if self.precision == "fp16" and any(stage.optimizer == "muon" or stage.texture for stage in self.stages):
            raise ValueError("precision fp16 scales gradients for one optimiser only; use bf16 with muon or texture")
        if self.accumulate > 1 and any(stage.texture for stage in self.stages):
            raise ValueError("accumulate must be 1 with texture: the discriminators learn from each whole batch")
        self.check_split(1)
        return self

    def check_split(self, processes: int) -> None:
        """Whether every stage's batch splits evenly, with enough images in each micro-batch for batch norm.

        Raises:
            ValueError: it cannot.
        """
        parts = processes * self.accumulate
        smallest = PRESETS[self.model].multiple
        for stage in self.stages:
            if stage.batch_size % parts:
                raise ValueError(
                    f"batch_size {stage.batch_size} cannot be split into {self.accumulate} micro-batches for each "
                    f"of {processes} processes: make it a multiple of {parts}"
                )
            if stage.batch_size == parts and stage.size <= smallest:
                raise ValueError(
                    f"batch norm needs more than one value for each channel: with one image at a time, model "
                    f"{self.model!r} needs a size above {smallest}, got {stage.size}"
                )

    def network(self, stage: Stage) -> UNetConfig:
        """What the network is built from in ``stage``."""
        return dataclasses.replace(PRESETS[self.model], **stage.network)

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)


def presets() -> list[str]:
    """Names of the configurations that come with pconv."""
    return sorted(path.name.removesuffix(".toml") for path in _bundled().iterdir() if path.name.endswith(".toml"))


def _bundled() -> Path:
    return Path(str(resources.files("pconv"))) / "configs"


def read_config(source: Path | str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read ``source``, apply ``key=value`` overrides (``stages.0.lr=1e-4`` reaches inside), and check all of it.

    Args:
        source: a TOML file's path, or the name of a preset (``presets``). Relative paths in it are relative to
            the working directory.

    Raises:
        InputError: no such file or preset, not TOML, an unknown key (with the nearest known one), or a value out of
            range.
    """
    path = Path(source)
    if not path.exists():
        path = _bundled() / f"{source}.toml"
        if not path.is_file():
            raise InputError(f"there is no configuration {source}: neither a file nor one of {', '.join(presets())}")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a TOML file: {error}") from error
    for override in overrides:
        _apply(values, override)
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: " + "; ".join(_explain(error))) from error


def write_config(config: TrainConfig, path: Path) -> None:
    """Write the resolved configuration as TOML, defaults included, for ``read_config``."""
    with replacing(path) as temporary:
        temporary.write_text(tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)), encoding="utf-8")


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key or not text:
        raise InputError(f"{override!r} is no override: write key=value, such as seed=1 or stages.0.lr=1e-4")
    *parents, last = key.split(".")
    at: Any = values
    try:
        for parent in parents:
            at = at[int(parent)] if isinstance(at, list) else at.setdefault(parent, {})
        at[int(last) if isinstance(at, list) else last] = text.strip("\"'") if key in _TEXTS else _parse(text)
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{override!r}: the configuration has no {key!r} to override") from error


def _parse(text: str) -> Any:
    """A TOML value where ``text`` is one, else the text itself, so that names and paths need no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


_TEXTS = {"photos", "validation", "masks", "init", "vgg", "model", "device"}
"""Settings that are text even where it looks like a number: a folder called 2024."""


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        where = ".".join(map(str, problem["loc"]))
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            known = _known_keys(problem["loc"])
            near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
            yield f"unknown key {where!r}" + (f"; did you mean {near[0]!r}?" if near else f"; known are {known}")
        elif problem["type"] == "missing":
            yield f"{where!r} is missing"
        else:
            message = problem["msg"].removeprefix("Value error, ")
            yield f"{where}: {message}" if where else message


def _known_keys(place: tuple[str | int, ...]) -> list[str]:
    for name, weights in (("loss", LossWeights), ("texture", TextureWeights)):
        if name in place:
            return [field.name for field in dataclasses.fields(weights)]
    return list((Stage if "stages" in place else TrainConfig).model_fields)
