"""The training loop (Liu et al., section 4)."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from pconv.errors import TrainingError, is_out_of_memory
from pconv.images.reading import MAX_NAMED, some
from pconv.signals import StopRequest, stop_on_signal
from pconv.training.checkpoint import HOW_TO_GO_ON, MODEL_FILE, STATE_FILE, load_state, writing_run
from pconv.training.config import Stage, TrainConfig, write_config
from pconv.training.data import Batch
from pconv.training.features import VGG16Features, load_vgg
from pconv.training.loading import Feed, Loader, TrainingData, open_data
from pconv.training.losses import InpaintingLoss
from pconv.training.machines import gathered, leave, reduced, settled_precision, start_fabric
from pconv.training.progress import TrainingProgress
from pconv.training.run import BATCH_NORMS, Run
from pconv.training.sheet import save_bad_batch
from pconv.training.texture import POOLS as TEXTURE_POOLS
from pconv.training.validation import superres_set, validation_set

CONFIG_FILE = "config.toml"
STOPPING = "stopping after this step, which is still saved (once more to stop at once)"
BAD_IN_A_ROW = 10
"""Steps without a finite loss, one after the other, that end the run."""
FOR_VALIDATION = "validation takes crops of the largest stage: lower its size"
NOT_LOSSES = {"lr", "images_per_s", "hole_ratio", "grad_norm"}


class Outcome(NamedTuple):
    """What ``train`` did.

    Attributes:
        model: path of the trained model.
        steps: done in all.
        stopped_by: number of the signal that stopped the run, in any process; 0 if none did.
    """

    model: Path
    steps: int
    stopped_by: int


def train(config: TrainConfig, out: Path, resume: bool = False) -> Outcome:
    """Run ``config`` into the folder ``out``.

    ``out`` gets ``model.safetensors`` (the averaged weights, for use), ``best.safetensors`` (those of the last stage's
    best validation), ``state.pt`` (for ``resume``), ``config.toml``, contact sheets and TensorBoard's scalars. Ctrl-C,
    SIGTERM and SIGHUP end the run after the current step, with everything saved; a second one ends it at once. With
    ``resume`` the run goes on after its last saved step; the stage it is in, and those after, may have other lengths.
    Under ``torchrun`` every process calls this function.

    Raises:
        TrainingError: ``out`` holds a run already, there is nothing to resume, data or VGG-16's weights cannot be
            read, ``out`` cannot be written, a loader worker died, memory is short, or the loss is not finite ten times
            in a row.
        InputError: no such device, or masks that cannot be understood.
    """
    # What can be lowered is said where it is used; all else is needed with the smallest batch too.
    with explaining_short_memory("end other programs, or take another device or a smaller model"):
        return _train(config, out, resume)


def _train(config: TrainConfig, out: Path, resume: bool) -> Outcome:
    fabric = start_fabric(config)
    first = fabric.is_global_zero
    if (out / STATE_FILE).exists() and not resume:
        raise TrainingError(f"{out} holds a run already: go on with --resume, or choose another --out")
    state = fabric.broadcast(load_state(out) if resume and first else None)
    data = open_data(config, out, fabric.global_rank, fabric.world_size)
    notes = list(data.notes)
    as_given = config
    if config.precision == "auto":
        config, note = settled_precision(config, fabric, state["config"]["precision"] if state else "auto")
        fabric = start_fabric(config)
        notes.append(note)
    with _folder(out) if first else nullcontext():
        run = Run(config, out, fabric, _features(config, fabric))
    if first:
        with writing_run(out):
            write_config(as_given, out / CONFIG_FILE)
    if state:
        run.restore(state)
        if first and not (out / MODEL_FILE).exists():  # it was removed, and maybe no step is left to do
            with writing_run(out):
                run.save_model(out / MODEL_FILE)
        if state["photos"] != data.fingerprint:
            notes.append("the photos are not those that the run began with; it goes on with these")
    held_out: list[Batch] = []
    if first and data.validation:
        draw = superres_set if config.stages[-1].holes == "superres" else validation_set
        size = max(stage.size for stage in config.stages)
        with explaining_short_memory(FOR_VALIDATION):
            held_out = draw(data.validation, size, config.seed, notes)

    done = sum(min(max(run.step - start, 0), s.steps) * s.batch_size for start, s in stage_starts(config))
    total = sum(s.steps * s.batch_size for s in config.stages)
    with (
        open_writer(out if first else None, run.step + 1 if state else None) as writer,
        TrainingProgress(total - done, silent=not first) as progress,
        stop_on_signal(STOPPING if first else "") as stop,
    ):
        for note in notes:
            progress.note(note)
        loop = Loop(run, data, held_out, writer, progress, stop, done)
        loop.run_stages(state["places"] if state else None)
        stopped_by = max(gathered(fabric, stop.signal or 0))
    leave(fabric)
    return Outcome(out / MODEL_FILE, run.step, stopped_by)


class Loop:
    """The steps of a run from where it is to its end, with what they log, validate and save.

    Args:
        run: at the step to go on from.
        held_out: batches to validate with, on the first process; none where there are no validation photos.
        writer: TensorBoard's, on the first process.
        stop: set when the user asks for the end.
        images: how many images ``run`` has been trained on.
    """

    def __init__(
        self,
        run: Run,
        data: TrainingData,
        held_out: list[Batch],
        writer: SummaryWriter | None,
        progress: TrainingProgress,
        stop: StopRequest,
        images: int,
    ) -> None:
        self.run, self.data, self.held_out = run, data, held_out
        self.writer, self.progress, self.stop = writer, progress, stop
        self.images = images
        self.stopped = False
        self.means = Means()
        self.bad_in_a_row = 0
        self.unreadable: dict[str, None] = {}  # in the order in which they were met

    def run_stages(self, positions: Sequence[Any] | None) -> None:
        """Do what is left of each stage, or stop after a step if the user asks for it.

        Args:
            positions: each process's ``Loader.positions`` where the run is resumed, else None.

        Raises:
            TrainingError: memory is short, or the loss is not finite ten times in a row.
        """
        run = self.run
        for number, (start, stage) in enumerate(stage_starts(run.config)):
            done = max(run.step - start, 0)
            if done >= stage.steps or self.stopped:
                continue
            if run.stage_number != number:
                if number < run.stage_number or done:
                    raise TrainingError(
                        f"{run.out} is in stage {run.stage_number}, and step {run.step} now lies in stage {number}: "
                        f"only the stage that a run is in, and those after it, can be made longer"
                    )
                run.begin(number)
            self._run_stage(done, positions if done else None)
        everywhere = list(dict.fromkeys(why for whys in gathered(run.fabric, list(self.unreadable)) for why in whys))
        if everywhere:
            names = some(everywhere, "; ")
            self.progress.note(f"left out in all, since they could not be read ({len(everywhere)}): {names}")
        if run.skipped:
            self.progress.note(f"{run.skipped} steps were skipped because their loss was not finite")

    def _run_stage(self, done: int, positions: Sequence[Any] | None) -> None:
        """Train the stage that ``run`` is in, of which ``done`` steps are done."""
        run, stage, device = self.run, self.run.stage, self.run.fabric.device
        set_train(run.net, stage)
        net = run.fabric.setup_module(torch.compile(run.net) if run.config.compile else run.net)  # type: ignore[arg-type]
        loss = InpaintingLoss(stage.loss, run.vgg, stage.balance, stage.composite_only, stage.rim_reach).to(device)
        loader = self.data.loader(run.stage_number, self.images, stage.steps - done, positions)
        self.means, self.bad_in_a_row = Means(), 0
        with loader.started(self.progress.note) as batches:
            feed = Feed(batches, run.config.accumulate, stage.steps - done, device, ahead=device.type == "cuda")
            for step in range(done, stage.steps):
                self._take_step(net, loss, loader, feed, step)
                if self.stopped:
                    break

    def _take_step(self, net: _FabricModule, loss: InpaintingLoss, loader: Loader, feed: Feed, step: int) -> None:
        """Train on the next batch, which is number ``step`` of the stage; log, validate and save where it is time."""
        run, stage = self.run, self.run.stage
        run.set_lr(rate_factor(stage, step))
        readiness = min((step + 1) / (stage.warmup_steps + 1), 1)
        with explaining_short_memory(self._how_to_load()):
            micro_batches = feed.take()
        with explaining_short_memory(self._how_to_step()):
            scalars, good, self.stopped = train_step(run, net, loss, micro_batches, self.stop, readiness, feed.fetch)
        for batch in micro_batches:
            loader.used(batch)
        run.step += 1
        self.images += stage.batch_size
        self.progress.advance(stage.batch_size)
        self._note_unreadable(micro_batches)
        if good:
            self.means.add(scalars)
            self.bad_in_a_row = 0
        else:
            self._skip(micro_batches)
        if run.step % run.config.log_every == 0:
            self._log(stage.lr * rate_factor(stage, step), micro_batches)
        last = run.step == run.config.steps
        if self.writer and self.held_out and (last or run.step % run.config.validate_every == 0):
            with explaining_short_memory(FOR_VALIDATION):
                self.progress.note(f"step {run.step}: {run.validate(self.held_out, self.writer)}")
        due = run.step % run.config.save_every == 0 or self.stopped or step + 1 == stage.steps
        if due and not self.bad_in_a_row:  # what was saved before may be the last good state
            positions = gathered(run.fabric, loader.positions)
            if run.fabric.is_global_zero:
                run.save(self.data.fingerprint, positions)

    def _how_to_step(self) -> str:
        """What makes the stage's steps need less memory, as far as the configuration takes it."""
        config, stage = self.run.config, self.run.stage
        lower = f"lower stage {self.run.stage_number}'s"
        if self.data.split.micro_batch_size(stage.batch_size) == 1:
            return f"{lower} size ({stage.size})"
        texture = any(each.texture for each in config.stages)
        more = "" if texture else f", or raise accumulate ({config.accumulate})"
        return f"{lower} batch_size ({stage.batch_size}) or size ({stage.size}){more}"

    def _how_to_load(self) -> str:
        """What makes the loader and its batches need less memory."""
        config = self.run.config
        sizes = {"workers": config.workers, "cache_gb": config.cache_gb} if self.data.photos else {}
        lower = " or ".join(f"{name} ({size:g})" for name, size in sizes.items() if size)
        return f"lower {lower}, or {self._how_to_step()}" if lower else self._how_to_step()

    def _note_unreadable(self, micro_batches: list[Batch]) -> None:
        for why in (each for batch in micro_batches for each in batch.unreadable):
            if why not in self.unreadable and len(self.unreadable) < MAX_NAMED:
                self.progress.note(f"left out: {why}")
            self.unreadable[why] = None

    def _skip(self, micro_batches: list[Batch]) -> None:
        """Count a step whose loss is not finite.

        Raises:
            TrainingError: it is the tenth in a row.
        """
        run = self.run
        run.skipped += 1
        self.bad_in_a_row += 1
        self.progress.note(f"step {run.step} skipped, its loss is not finite ({run.skipped} skipped so far)")
        if self.bad_in_a_row == BAD_IN_A_ROW:
            with writing_run(run.out):
                kept = save_bad_batch(micro_batches, run.out, run.fabric.global_rank)
            raise TrainingError(
                f"the loss was not finite {BAD_IN_A_ROW} steps in a row, up to step {run.step}: lower lr or set "
                f"clip_norm, and {HOW_TO_GO_ON}; the last batch is in {kept}"
            )

    def _log(self, lr: float, micro_batches: list[Batch]) -> None:
        """Scalars and the last batch's hole ratios, for TensorBoard and the progress line."""
        run = self.run
        values = {name: reduced(run.fabric, mean).item() for name, mean in self.means.take().items()}
        values |= {"lr": lr, "images_per_s": self.progress.images_per_s()}
        if self.writer:
            ratios = torch.cat([1 - batch.valid.float().mean(dim=(1, 2, 3)) for batch in micro_batches])
            with writing_run(run.out):
                for name, value in values.items():
                    self.writer.add_scalar(name if name in NOT_LOSSES else f"loss/{name}", value, run.step)
                self.writer.add_histogram("hole_ratios", ratios, run.step)
        self.progress.step(run.step, run.config.steps, values)


def train_step(
    run: Run,
    net: _FabricModule,
    loss_of: InpaintingLoss,
    micro_batches: list[Batch],
    stop: StopRequest,
    readiness: float,
    meanwhile: Callable[[], None],
) -> tuple[dict[str, Tensor], bool, bool]:
    """Forward, loss and backward for each micro-batch, then one step of the optimiser and of the average.

    Where the loss, or the gradient's norm, is not finite in any process, no process takes the step, and batch norm's
    statistics go back to what they were.

    Args:
        readiness: 0 to 1, how far the stage's warm-up is.
        meanwhile: called when the device has its work and this process would wait for it.

    Returns:
        The loss's terms and such by name; whether the step was taken; whether any process was asked to stop.
    """
    fabric, device = run.fabric, run.fabric.device
    statistics = [buffer.clone() for buffer in run.net.buffers()]
    means = Means()
    finite = torch.ones((), device=device)
    for optimizer in run.optimizers:
        optimizer.zero_grad()
    # Noise inputs draw from torch's generator: a run that is resumed draws what it would have drawn.
    torch.manual_seed(run.config.seed + run.step * fabric.world_size + fabric.global_rank)
    for number, batch in enumerate(micro_batches, start=1):
        truth, valid = to_network(batch.images), batch.valid
        with fabric.no_backward_sync(net, enabled=number < len(micro_batches)):
            output = net(truth if batch.seen is None else to_network(batch.seen), valid)
            with fabric.autocast():
                loss, terms = loss_of(output, truth, valid, batch.distance)
                if run.texture:
                    texture, more = run.texture(output, truth, valid, batch.distance, readiness)
                    loss, terms = loss + texture, terms | more
            fabric.backward(loss / len(micro_batches))
        finite *= loss.detach().isfinite()
        means.add({"loss": loss, **terms, "hole_ratio": 1 - valid.float().mean()})
    meanwhile()
    scalars = means.take()
    if not run.scaled:  # fp16's scaler passes over gradients that overflow by itself
        scalars["grad_norm"] = run.clip_gradients()
        finite *= scalars["grad_norm"].isfinite()
    flags = torch.stack([1 - finite, finite.new_tensor(float(stop.is_set()))])
    bad, stopped = (bool(flag) for flag in reduced(fabric, flags, "sum").tolist())
    if bad:
        for buffer, value in zip(run.net.buffers(), statistics, strict=True):
            buffer.copy_(value)
    else:
        if run.scaled:
            run.clip_gradients()
        for optimizer in run.optimizers:
            optimizer.step()
        run.averaged.update_parameters(run.net)
    return scalars, not bad, stopped


class Means:
    """Running means of named scalars, which stay on their device until ``take`` is called."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, scalars: dict[str, Tensor]) -> None:
        for name, value in scalars.items():
            self._sums[name] = self._sums[name] + value.detach() if name in self._sums else value.detach()
        self._count += 1

    def take(self) -> dict[str, Tensor]:
        """The means since this was called last."""
        means = {name: value / self._count for name, value in self._sums.items()}
        self._sums, self._count = {}, 0
        return means


@contextmanager
def explaining_short_memory(what_to_do: str) -> Iterator[None]:
    """Turn an error that says that memory is short into one that says how the run needs less.

    Raises:
        TrainingError: memory is short.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(f"out of memory: {what_to_do}; then {HOW_TO_GO_ON}") from error


@contextmanager
def open_writer(out: Path | None, purge_from: int | None) -> Iterator[SummaryWriter | None]:
    """TensorBoard's writer, on the first process only; ``purge_from`` forgets what a killed run logged in vain."""
    if out is None:
        yield None
        return
    hook = threading.excepthook
    # The writer raises what happens in its thread, such as a full disk, at the next call too.
    threading.excepthook = lambda args: None if issubclass(args.exc_type, OSError) else hook(args)
    try:
        with writing_run(out):
            writer = SummaryWriter(str(out), purge_step=purge_from)
        try:
            yield writer
        finally:
            with writing_run(out):
                writer.close()
    finally:
        threading.excepthook = hook


def stage_starts(config: TrainConfig) -> Iterator[tuple[int, Stage]]:
    """Each stage with the number of its first step."""
    start = 0
    for stage in config.stages:
        yield start, stage
        start += stage.steps


def rate_factor(stage: Stage, step: int) -> float:
    """The learning rate of step number ``step`` within the stage, as a share of the highest, 0 to 1.

    A linear warm-up, then constant, a half cosine down to 0, or linear down to 0 over the stage's last part.
    """
    if step < stage.warmup_steps:
        return (step + 1) / (stage.warmup_steps + 1)
    if stage.schedule == "constant":
        return 1.0
    if stage.schedule == "linear":
        return min((stage.steps - step) / (stage.steps * stage.decay), 1.0)
    progress = (step - stage.warmup_steps) / max(stage.steps - stage.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * progress))


def set_train(net: nn.Module, stage: Stage) -> None:
    """Training mode.

    With ``freeze_norm``, all batch norms keep their statistics. With ``freeze_encoder_norm``, those of the encoder
    keep statistics and affine parameters.
    """
    net.train()
    for name, module in net.named_modules():
        if isinstance(module, BATCH_NORMS):
            frozen = stage.freeze_encoder_norm and name.startswith("encoder.")
            module.train(not (frozen or stage.freeze_norm))
            module.requires_grad_(not frozen)


def to_network(images: Tensor) -> Tensor:
    """uint8 ``(B, 3, H, W)`` to float 0..1, channels last."""
    return (images.float() / 255).contiguous(memory_format=torch.channels_last)


def _features(config: TrainConfig, fabric: Fabric) -> VGG16Features | None:
    """VGG-16 on the device, with as many blocks as the losses need; None where no stage needs it."""
    if not any(stage.needs_features for stage in config.stages):
        return None
    blocks = 3 if any(stage.loss.needs_features for stage in config.stages) else TEXTURE_POOLS
    with fabric.rank_zero_first(local=True):  # one download, not one for each process
        return load_vgg(config.vgg, blocks).to(fabric.device)


@contextmanager
def _folder(out: Path) -> Iterator[None]:
    """Make the folder ``out``; it does not stay behind, empty, where the run cannot begin."""
    made = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"cannot make the folder {out}: {error.strerror}") from error
    try:
        yield
    except BaseException:  # Ctrl-C too
        if made:
            with suppress(OSError):
                out.rmdir()
        raise
