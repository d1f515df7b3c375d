"""A training run's settings: a TOML file or a preset, and ``key=value`` overrides, read into one checked object.

The line below each setting has its unit, where there is one, and its source in brackets: the paper (Liu et al. 2018),
another publication, or "ours" for what this project has chosen. A test asks for the line and its source.
"""

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
    """Optimiser steps (ours: the paper gives days)."""
    size: int = Field(gt=0)
    """Side of the square crops, px (Liu et al., section 4: 512)."""
    batch_size: int = Field(gt=0)
    """Images in one optimiser step, all processes and accumulated parts together (Liu et al., section 4: 6)."""
    lr: float = Field(gt=0)
    """The highest learning rate (Liu et al., section 4: 2e-4, then 5e-5)."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """Constant (Liu et al., section 4). Cosine falls from lr to 0 over the stage (Loshchilov and Hutter 2017), linear
    over its last part, which decay says (Hägele et al. 2024)."""
    decay: float = Field(0.33, gt=0, le=1)
    """The share of the stage, at its end, over which the linear schedule falls to 0 (Hägele et al. 2024)."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the learning rate rises to lr (Goyal et al. 2017), and adversarial terms to their weights."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """AdamW (Loshchilov and Hutter 2019); Muon (Jordan et al. 2024) takes the weights of inner convolutions alone, and
    AdamW the rest. Where it, betas or network change, a stage begins it anew, from the averaged weights."""
    adamw_lr: float | None = Field(None, gt=0)
    """AdamW's highest learning rate beside Muon; without one, lr (Jordan et al. 2024)."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """AdamW's decays of the first and the second moment, from 0 to below 1 (Kingma and Ba 2015)."""
    clip_norm: float | None = Field(None, gt=0)
    """The gradient's L2 norm is limited to this; without it, there is no limit (Pascanu et al. 2013)."""
    loss: LossWeights = LossWeights()
    """Weights of the loss terms (Liu et al., section 3.3); perceptual and style need VGG-16's weights."""
    balance: float = Field(0.0, ge=0, le=1)
    """From 0 to 1, how much small holes count in L_hole and in the rim term (ours): 0 is the paper's mean over the
    whole image, 1 the mean over each image's hole (``pconv.training.losses.hole_loss``)."""
    rim_reach: float = Field(3.5, gt=0)
    """The depth in the hole, px, at which a pixel counts half in the rim term (ours, ``losses.rim_weight``)."""
    composite_only: bool = False
    """The perceptual and style terms look at the composite alone (ours); the paper's look at the output too."""
    texture: TextureWeights | None = None
    """Weights of the texture terms (ours, with a source for each term); those on features need VGG-16's weights.
    {} takes the bundled model's weights, and false leaves all terms out."""
    discriminator_lr: float = Field(4e-4, gt=0)
    """The discriminators' highest learning rate, for AdamW (a rate of their own: Heusel et al. 2017)."""
    network: dict[str, Any] = Field(default_factory=dict)
    """Fields of ``pconv.UNetConfig`` in which this stage's network has less than the model, such as
    {noise_levels = 0} (ours). What a later stage adds begins as something that changes nothing, or little."""
    mixture: Share = 1.0
    """The share of this stage's averaged weights in the saved model, 0 to 1; the rest are those with which the stage
    began (network interpolation of ESRGAN: Wang et al. 2018)."""
    holes: Literal["irregular", "mixed", "rectangle", "superres"] = "irregular"
    """Synthetic holes, where no masks are given: ``pconv.irregular_hole``, ``MixedHoles``, or one rectangle (ours).
    Superres shrinks crops by 2, 3 or 4 and spreads their pixels (Liu et al., extensions; ``pconv.superres_input``)."""
    dense_thin_share: Share = 0.0
    """The share of mixed holes, 0 to 1, that are dense thin lines instead (ours, ``pconv.dense_thin_hole``)."""
    hole_ratio: tuple[Ratio, Ratio] = (0.01, 0.6)
    """Lowest and highest hole ratio, between 0 and 1 (Liu et al., section 4); of mixed holes, that of the irregular
    ones before they are cropped."""
    smallest_zoom: float = Field(1.0, gt=0, le=1)
    """Crops are shrunk by a random factor from this to 1, if the photo is large enough (ours); 1 shrinks none."""
    turned_share: Share = 0.0
    """The share of crops, 0 to 1, that are turned by 90, 180 or 270 degrees (ours)."""
    recoloured_share: Share = 0.0
    """The share of crops, 0 to 1, with other gamma, saturation and channel gains (ours, ``pconv.training.crops``)."""
    freeze_norm: bool = False
    """All batch norms keep their statistics (ours); their affine parameters are trained."""
    freeze_encoder_norm: bool = False
    """The encoder's batch-norm statistics and affine parameters stay as they are (Liu et al., section 4: stage 2)."""

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
    """Folder of photos, read recursively (ours). Either this or shards."""
    shards: tuple[str, ...] = ()
    """WebDataset shards (Aizman et al. 2019): paths, URLs or pipes, {000..099} for many; or folders of .tar files."""
    validation: Path | None = None
    """Folder of photos for validation (ours); without one, every 50th of photos is kept from training for it."""
    masks: Path | None = None
    """Folder of mask files for the holes, augmented (Liu et al., section 4); without one, synthetic holes."""
    mask_polarity: Literal["auto", "white-hole", "white-valid"] = "auto"
    """What white means in the masks (ours); auto finds it out from the folder."""
    model: str = "small"
    """Preset of the network, see pconv.PRESETS ("paper": Liu et al., section 3.2; the others are ours)."""
    convolution: Literal["partial", "plain-grey", "plain-imagenet-mean"] = "partial"
    """Plain ones are for comparison (Liu et al., figure 2): the same network with nn.Conv2d, its holes filled with
    127.5 or with the ImageNet mean; for pconv evaluate --plain-model."""
    init: str | Path | None = None
    """Checkpoint to start the weights from: a file, a URL with #sha256=HASH, or a bundled model's name (default,
    clean, superres). It is of the same network, or of one with further inner levels (ours)."""
    vgg: Path | None = None
    """VGG-16's weights (Simonyan and Zisserman 2015); without a file, torchvision's are downloaded once if needed."""
    stages: tuple[Stage, ...] = Field(min_length=1)
    """The parts of the training, one after the other (Liu et al., section 4: two)."""
    accumulate: int = Field(1, gt=0)
    """Micro-batches of each process in one optimiser step, one after the other to save memory (common practice)."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's, per step and learning rate (Loshchilov and Hutter 2019); 0 makes it Adam (Liu et al., section 4).
    Muon's and the discriminators' is always 1e-4."""
    batch_norm_momentum: float = Field(0.1, gt=0, le=1)
    """The weight of a batch, 0 to 1, in batch norm's running statistics (Ioffe and Szegedy 2015; 0.1: PyTorch)."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Decay per step of the averaged weights, which are saved for use (Tarvainen and Valpola 2017); 0: the last."""
    sync_batch_norm: bool = False
    """Batch-norm statistics over all processes (SyncBatchNorm of PyTorch, GPUs only)."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Of the convolutions (Micikevicius et al. 2018). Auto measures once whether the processor is faster in bf16; GPUs
    that have it use it."""
    compile: bool = False
    """Compile the network (``torch.compile`` of PyTorch): minutes at each stage's start, then faster steps on GPUs."""
    device: str = "auto"
    """Where the network is trained: cpu, cuda, cuda:1 or mps (ours); auto takes the fastest there is."""
    seed: int = Field(0, ge=0)
    """Of everything that is random: the first weights, the order of photos, crops, holes, noise (ours)."""
    workers: int = Field(2, ge=0)
    """Loader processes, for each training process (ours); 0 loads in the training process."""
    cache_gb: float = Field(2.0, ge=0)
    """Memory for decoded photos, GiB, all workers of a process together (ours)."""
    log_every: int = Field(50, gt=0)
    """Steps between scalars in TensorBoard and on the progress line (ours)."""
    validate_every: int = Field(1000, gt=0)
    """Steps between validations: PSNR, dB, for each bin of hole ratios (Liu et al., section 4), a contact sheet."""
    save_every: int = Field(500, gt=0)
    """Steps between saves of the model and of the state for --resume (ours)."""

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
        """Optimiser steps of all stages."""
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
