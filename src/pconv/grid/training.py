"""Training on one series whose truth has gaps itself, to be read straight down."""

from __future__ import annotations

import copy
import csv
import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pconv.errors import InputError, TrainingError
from pconv.files import replacing
from pconv.grid import gaps, normalise
from pconv.grid.axes import Bools
from pconv.grid.domain import distance_to_known
from pconv.grid.error_table import ErrorMeter
from pconv.grid.model import MODEL_FILE, GridModel, fingerprints, forward
from pconv.grid.modes import Modes, fit_modes, most_modes
from pconv.grid.network import choose_config, halo
from pconv.grid.samples import (
    Batch,
    Case,
    Data,
    Sampler,
    Split,
    TrainOptions,
    choose_patterns,
    held_out_cases,
    split_blocks,
)
from pconv.nn.checkpoint import read_state, save_state
from pconv.nn.unet import PConvUNet, UNetConfig

STATE_FILE, CURVE_FILE, CURVE_PICTURE = "state.pt", "curve.csv", "curve.png"
EMA = 0.995
INFLATIONS = (1.0, 4.0, 16.0, 64.0)
"""Tried for the noise of the modes."""
FOLDS = 4
"""Blocks of time of the training steps; each gets its first guess from modes of the others."""

Says = Callable[[float, str, bool], None]
"""Told after each step: how much of the run is over, 0..1, a text, and whether the text is worth a line of its own."""


def train(
    data: Data,
    options: TrainOptions,
    out: Path,
    patterns: Bools | None = None,
    note: Callable[[str], None] = lambda _: None,
    says: Says = lambda *_: None,
    resume: bool = False,
) -> GridModel:
    """Train on ``data`` and write model, state and curve into the folder ``out``.

    Args:
        patterns: ``(N, V, H, W)`` gaps to hide cells with, True = gap, instead of ``options.gaps``.
        note: is told what people should know.
        says: is told how it goes.
        resume: go on after the last validation of the run in ``out``.

    Raises:
        InputError: the data cannot be trained on.
        TrainingError: ``out`` holds a run already, or has none to resume.
    """
    state_path = out / STATE_FILE
    if state_path.exists() and not resume:
        raise TrainingError(f"{out} holds a run already: go on with --resume, or choose another folder")
    if resume and not state_path.exists():
        raise TrainingError(f"{out} holds no run to go on with")
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    model, split = prepare(data, options, note)
    draw = choose_patterns(data, model.domain, split, options, patterns, note)
    sampler = Sampler(data, model, split.train, draw, options)
    held = held_out_cases(
        data, model, split.validation if len(split.validation) else split.train, draw, options.seed + 1
    )
    if options.device == "cpu":
        choose_threads(model.network, sampler)
    choose_modes(model, sampler, held, options, note)
    state = _load_state(state_path, model) if resume else None
    network, average = model.network.to(options.device), copy.deepcopy(model.network).to(options.device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.lr, weight_decay=1e-3)
    best: tuple[float, dict[str, Tensor]] = (math.inf, {})
    done, spent, stale = 0, 0.0, 0
    curve: list[tuple[int, float, float, float]] = []
    if state:
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        best, curve = state["best"], state["curve"]
        done, spent, stale = state["done"], state["spent"], 0
        sampler.random = np.random.default_rng(options.seed + 1000 + done)
    begun = time.perf_counter() - spent
    losses: list[float] = []
    network.train()
    while True:
        spent = time.perf_counter() - begun
        part = max(done / options.steps, spent / (60 * options.minutes) if options.minutes else 0)
        if part < 1 and done:
            loss = train_step(network, average, optimiser, sampler.batch(), options, part, done)
            losses.append(loss)
            says(min(part, 1), f"step {done}", False)
        done += 1
        ended = part >= 1
        if done % options.validate_every == 1 or ended:
            score = validate(average, model, held, options.device)
            mean = float(np.mean(losses)) if losses else math.nan
            curve.append((done - 1, mean, score, time.perf_counter() - begun))
            losses = []
            stale = 0 if score < best[0] else stale + 1
            if score < best[0]:
                best = (score, {name: tensor.clone() for name, tensor in average.state_dict().items()})
            says(min(part, 1), f"step {done - 1}: RMSE {score:.4f} of a standard deviation on held-out steps", True)
            _save_state(state_path, network, average, optimiser, best, curve, done, time.perf_counter() - begun)
            write_curve(curve, out)
            if ended or stale >= options.patience:
                break
    if stale >= options.patience:
        note(f"stopped early: no gain in the last {options.patience} validations")
    model.network.load_state_dict(best[1])
    model.network.to("cpu").eval()
    model.facts |= {"steps": done - 1, "seconds": round(time.perf_counter() - begun), "validation": best[0]}
    measure_errors(data, model, split.calibration if len(split.calibration) else split.train, draw, options.seed + 2)
    model.save(out / MODEL_FILE)
    return model


def choose_threads(network: PConvUNet, sampler: Sampler) -> None:
    """One thread or as many as torch has, whichever is faster now: on a busy machine threads wait for each other."""
    most = torch.get_num_threads()
    batch = sampler.batch()
    seconds: dict[int, float] = {}
    for threads in (most, 1):
        torch.set_num_threads(threads)
        for _ in range(3):
            begun = time.perf_counter()
            with torch.enable_grad():
                network.eval()(batch.image, batch.valid).sum().backward()
            seconds[threads] = min(seconds.get(threads, math.inf), time.perf_counter() - begun)
    network.zero_grad(set_to_none=True)
    torch.set_num_threads(min(seconds, key=lambda threads: seconds[threads]))


def prepare(data: Data, options: TrainOptions, note: Callable[[str], None]) -> tuple[GridModel, Split]:
    """The untrained model with its statistics, which come from the training steps alone."""
    known = np.isfinite(data.values)
    for number, name in enumerate(data.variables):
        if not known[:, number].any():
            raise InputError(f"{name} is missing everywhere: there is nothing to learn from")
    split = split_blocks(len(known), options.context)
    if not len(split.train):
        raise InputError(f"{len(known)} steps are too few for --context {options.context}")
    note(split.sentence())
    months = data.times.months
    own = known[split.train]
    use = options.anomalies
    if use is None:
        use = normalise.suits_anomalies(own, None if months is None else months[split.train])
        note(
            f"computing on {'anomalies from the climatology of each month' if use else 'mean and standard deviation'}"
        )
    if use and months is None:
        raise InputError("anomalies need times that can be decoded; give --no-anomalies")
    values = data.values[split.train]
    if use:
        assert months is not None
        normalisation = normalise.anomalies(values, months[split.train], data.grid.area)
    else:
        normalisation = normalise.plain(values, data.grid.area)
    channels = len(data.variables) * (1 + 2 * options.context)
    facts: dict[str, Any] = {
        "anomalies": use,
        "missing": data.missing,
        "options": asdict(options),
        "held_out": split.sentence(),
    }
    model = GridModel(
        network=PConvUNet(choose_config(data.grid.shape, channels, options.width)),
        variables=data.variables,
        units=data.units,
        grid=data.grid,
        domain=np.asarray(known.any(0)),
        normalisation=normalisation,
        context=options.context,
        facts=facts,
        seen=tuple(fingerprints(data.values[split.train])),
    )
    return model, split


def choose_modes(
    model: GridModel, sampler: Sampler, held: list[Case], options: TrainOptions, note: Callable[[str], None]
) -> None:
    """Give the model the first guess that suits the held-out steps best, with the smooth surface behind it."""
    if not options.modes:
        return
    steps = sampler.steps
    windows, valid = sampler.windows(steps)
    few = held[:48]
    surface = copy.deepcopy(model.network)  # whose output is the smooth surface alone
    torch.nn.init.zeros_(surface.levels[1][-1].conv.weight)
    plain = best = validate(surface, model, few, "cpu")
    chosen: Modes | None = None
    filled = windows
    most = most_modes(windows)
    for count in sorted({max(4, most * part // 8) for part in (1, 2, 4, 8)}) if most else ():
        fitted, whole = fit_modes(windows, valid, count)
        for inflation in INFLATIONS:
            model.modes = replace(fitted, inflation=inflation)
            score = validate(surface, model, few, "cpu")
            if score < best:
                best, chosen, filled = score, model.modes, whole
    model.modes = chosen
    if chosen is None:
        note("no first guess from modes: there are too few steps, or it does not help")
        return
    count = len(chosen.patterns)
    note(f"first guess from {count} modes of the training steps: RMSE {best:.4f} instead of {plain:.4f}")
    for fold in np.array_split(steps, FOLDS):
        others = filled[~np.isin(steps, fold)]
        again = fit_modes(others, torch.ones_like(others, dtype=torch.bool), min(count, len(others) - 2))[0]
        sampler.folds.append((fold, replace(again, inflation=chosen.inflation)))
    spread = float(torch.cat([b.truth[b.weight > 0] for b in (sampler.batch() for _ in range(8))]).std())
    config = replace(model.network.config, std=max(spread, 1e-3))
    torch.manual_seed(options.seed)
    model.network = PConvUNet(config)


def train_step(
    network: PConvUNet,
    average: PConvUNet,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    options: TrainOptions,
    part: float,
    done: int,
) -> float:
    """Forward, the loss over known cells, one step of AdamW, and one of the average. ``part`` of the run is over."""
    for group in optimiser.param_groups:
        group["lr"] = options.lr * min(1, done / 50) * 0.5 * (1 + math.cos(math.pi * part))
    output = network(batch.image, batch.valid)[:, : batch.truth.shape[1]]
    loss = (batch.weight * (output - batch.truth) ** 2).sum() / batch.weight.sum().clamp(min=1e-6)
    if torch.isfinite(loss):
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
    keep = min(EMA, (done + 1) / (done + 20))
    with torch.no_grad():
        for mine, theirs in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - keep)
    return float(loss.detach())


def predict_cases(network: PConvUNet, model: GridModel, cases: list[Case], device: str) -> Tensor:
    """``(N, V, H, W)``, normalised."""
    around = halo(network.config) if model.grid.periodic else 0
    network.eval()
    modes = model.modes
    outputs = []
    with torch.inference_mode():
        for start in range(0, len(cases), 8):
            chosen = cases[start : start + 8]
            image, valid = (torch.stack([getattr(c, n) for c in chosen]).to(device) for n in ("image", "valid"))
            outputs.append(forward(network, modes, image, valid, around)[:, : len(model.variables)].cpu())
    return torch.cat(outputs)


def validate(network: PConvUNet, model: GridModel, cases: list[Case], device: str) -> float:
    """RMSE over the hidden cells by area, in standard deviations."""
    predicted = predict_cases(network, model, cases, device)
    truth, hidden = (torch.stack([getattr(case, name) for case in cases]) for name in ("truth", "hidden"))
    weight = hidden * torch.from_numpy(model.grid.area)
    return float((((predicted - truth) ** 2 * weight).sum() / weight.sum()).sqrt())


def measure_errors(data: Data, model: GridModel, steps: NDArray[np.int64], draw: gaps.Pattern, seed: int) -> None:
    """Fill the model's error table from gaps made in held-out steps."""
    cases = held_out_cases(data, model, steps, draw, seed, most=240)
    predicted = predict_cases(model.network, model, cases, "cpu")
    truth, hidden = (torch.stack([getattr(case, name) for case in cases]) for name in ("truth", "hidden"))
    error = ((predicted - truth) * torch.from_numpy(model.normalisation.scale)[:, None, None]).numpy()
    known = torch.stack([case.valid[: len(model.variables)] for case in cases]).numpy()
    meter = ErrorMeter(len(model.variables), model.grid.shape)
    distance = distance_to_known(known, model.grid.periodic)
    meter.add(error, hidden.numpy(), distance)
    model.errors = meter.table()
    expected = model.errors.errors(distance)[hidden.numpy()]
    ratio = np.abs(error[hidden.numpy()]) / np.maximum(expected, 1e-30)
    model.facts["within"] = [float((ratio <= times).mean()) for times in (1, 2)]


def _save_state(
    path: Path,
    network: PConvUNet,
    average: PConvUNet,
    optimiser: torch.optim.Optimizer,
    best: tuple[float, dict[str, Tensor]],
    curve: list[tuple[int, float, float, float]],
    done: int,
    spent: float,
) -> None:
    with replacing(path) as temporary:
        save_state(
            {
                "config": asdict(network.config),
                "network": network.state_dict(),
                "average": average.state_dict(),
                "optimiser": optimiser.state_dict(),
                "best": best,
                "curve": curve,
                "done": done,
                "spent": spent,
            },
            temporary,
        )


def _load_state(path: Path, model: GridModel) -> dict[str, Any]:
    """What a run saved; the model gets its network."""
    state = read_state(path)
    config = UNetConfig(**state["config"])
    if config != replace(model.network.config, std=config.std):
        raise TrainingError(
            f"{path.parent} holds a run with another network; resume with the options that it began with"
        )
    model.network = PConvUNet(config)
    return state


def write_curve(curve: list[tuple[int, float, float, float]], out: Path) -> None:
    """The training curve as a table, and as a picture where matplotlib is installed."""
    with replacing(out / CURVE_FILE) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "loss", "validation_rmse", "seconds"])
        writer.writerows(
            (step, f"{loss:.6g}", f"{score:.6g}", f"{seconds:.1f}") for step, loss, score, seconds in curve
        )


def draw_curve(out: Path) -> bool:
    """``curve.png`` from ``curve.csv``; False where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return False
    rows = np.genfromtxt(out / CURVE_FILE, delimiter=",", names=True, ndmin=1)
    figure = Figure(figsize=(6, 3.5))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(rows["step"], np.sqrt(rows["loss"]), label="training (root of the loss)")
    axes.plot(rows["step"], rows["validation_rmse"], label="validation RMSE")
    axes.set(xlabel="step", ylabel="standard deviations", yscale="log")
    axes.legend()
    figure.savefig(out / CURVE_PICTURE, dpi=110, bbox_inches="tight")
    return True
