"""What computes the network: ONNX Runtime, PyTorch or OpenVINO, behind one small interface.

Nothing of them is imported before one is opened.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from pconv.errors import DeviceMemoryError, InputError, ModelError, is_out_of_memory
from pconv.models import BUNDLED, CHECKPOINT, DEFAULT_MODEL, GRAPH, GRAPH_FORMAT, check_format, find_model

PRECISIONS = ("auto", "fp32", "bf16")

FILLED, PREDICTED = "filled", "predicted"
"""A graph's outputs: the image with its holes filled, and what the network predicts everywhere."""


class Backend(Protocol):
    """A network that is ready to fill.

    Attributes:
        name: one of ``BACKENDS``.
        device: where it computes.
        precision: in what: "fp32" or "bf16".
        path: the model's file.
        channels: of the images it fills.
        multiple: of which heights and widths cost no padding.
        noise: whether the network has noise inputs, so that ``seed`` matters.
        estimates: whether the network has a surface, so that ``estimate`` matters.
        recipe: how its weights came to be.
        keeps_memory: False: what a run has taken is returned to the system after it, which makes the next run slower.
            Only ONNX Runtime has the choice.
    """

    name: ClassVar[str]
    device: str
    precision: str
    path: Path
    channels: int
    multiple: int
    noise: bool
    estimates: bool
    recipe: dict[str, Any]
    keeps_memory: bool

    def fill(
        self,
        images: NDArray[np.float32],
        holes: NDArray[np.bool_],
        *,
        seed: int = 0,
        origin: tuple[int, int] = (0, 0),
        estimate: NDArray[np.bool_] | None = None,
        everywhere: bool = False,
    ) -> NDArray[np.float32]:
        """Fill ``(B, C, H, W)`` images, values in 0..1, where ``(B, 1, H, W)`` holes are True.

        Args:
            seed: 0 to 63: which noise, in networks that have noise inputs.
            origin: row and column at which the images begin in the whole photo, so that the noise of a place does not
                depend on how the photo was cut.
            estimate: ``(B, 1, H, W)``, True where a hole pixel of ``images`` holds an estimate to start from, such as
                a fill of a smaller image. Networks without a surface ignore it.
            everywhere: return what the network predicts for known pixels too, not the pixels themselves.

        Returns:
            The images with their holes filled, values in 0..1. Calls may come from several threads.

        Raises:
            ModelError: ``everywhere`` is set, and the graph was exported without the output for it.
            DeviceMemoryError: the device has too little memory for it.
        """


class _GraphBackend(ABC):
    """A backend that runs an ONNX graph of ``pconv export``, on the CPU in fp32.

    Attributes:
        maps: channels of the graph's input ``hole``.
    """

    name: ClassVar[str]
    device = "cpu"
    precision = "fp32"
    keeps_memory = True

    def __init__(self, path: Path, device: str = "auto", precision: str = "auto") -> None:
        if device not in ("auto", "cpu"):
            raise InputError(
                f"the {self.name} backend computes on the cpu, not on {device!r}; for GPUs, --backend torch"
            )
        if precision == "bf16":
            raise InputError(f"the {self.name} backend computes in fp32; for bf16, --backend torch")
        self.path = path
        inputs, outputs, metadata = self._open(path)
        self._graph = _Graph(path, metadata, inputs, outputs)
        self.channels, self.multiple = self._graph.channels, self._graph.multiple
        self.noise, self.estimates, self.recipe = self._graph.noise, self._graph.estimates, self._graph.recipe
        self.maps = self._graph.maps

    @abstractmethod
    def _open(self, path: Path) -> tuple[list[str], list[str], dict[str, str]]:
        """Load the graph; return the names of its inputs and of its outputs, and its metadata."""

    @abstractmethod
    def _run(self, inputs: dict[str, NDArray[Any]], output: str) -> NDArray[np.float32]:
        """One of the graph's outputs."""

    def fill(
        self,
        images: NDArray[np.float32],
        holes: NDArray[np.bool_],
        *,
        seed: int = 0,
        origin: tuple[int, int] = (0, 0),
        estimate: NDArray[np.bool_] | None = None,
        everywhere: bool = False,
    ) -> NDArray[np.float32]:
        output = PREDICTED if everywhere else FILLED
        if output not in self._graph.outputs:
            raise ModelError(
                f"{self.path} gives filled images alone, and no prediction of known pixels; export it again with "
                "this pconv, or give its checkpoint"
            )
        return self._run(self._graph.inputs(images, holes, seed, origin, estimate), output)


class OnnxRuntimeBackend(_GraphBackend):
    """ONNX Runtime on the CPU in fp32."""

    name: ClassVar[str] = "onnxruntime"

    def _open(self, path: Path) -> tuple[list[str], list[str], dict[str, str]]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = _threads()
        # Planning which buffers to reuse takes two thirds of loading, and saves neither memory nor time.
        options.enable_mem_reuse = False
        self._returning = onnxruntime.RunOptions()
        self._returning.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        try:
            self._session = onnxruntime.InferenceSession(path.resolve(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors share no base class but this
            raise _unreadable(path, error) from error
        names = [[each.name for each in ends] for ends in (self._session.get_inputs(), self._session.get_outputs())]
        return names[0], names[1], self._session.get_modelmeta().custom_metadata_map

    def _run(self, inputs: dict[str, NDArray[Any]], output: str) -> NDArray[np.float32]:
        values: NDArray[np.float32]
        (values,) = self._session.run([output], inputs, None if self.keeps_memory else self._returning)
        return values


class OpenVinoBackend(_GraphBackend):
    """OpenVINO on the CPU in fp32: its bf16 computes the smooth surface in bf16 too, which costs up to 0.3 dB
    (docs/lab/performance-trials.md)."""

    name: ClassVar[str] = "openvino"

    def _open(self, path: Path) -> tuple[list[str], list[str], dict[str, str]]:
        import openvino

        core = openvino.Core()
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads := _threads():
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            model = core.read_model(path.resolve())
            # OpenVINO sets the signal stack of the thread that compiles, and can leave a freed one set when models are
            # deleted. In the main thread, which handles signals, the next signal would then crash the process.
            with ThreadPoolExecutor(1) as thread:
                self._compiled = thread.submit(core.compile_model, model, "CPU", options).result()
        except RuntimeError as error:
            raise _unreadable(path, error) from error
        self._of_thread = local()
        metadata = model.rt_info["framework"] if model.has_rt_info(["framework"]) else {}
        # An input also bears the names of operations behind it that do nothing, such as a division by 1.
        inputs, outputs = (
            [name for each in ends for name in each.names] for ends in (self._compiled.inputs, self._compiled.outputs)
        )
        return inputs, outputs, {key: str(entry.value) for key, entry in metadata.items()}

    def _run(self, inputs: dict[str, NDArray[Any]], output: str) -> NDArray[np.float32]:
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._compiled.create_infer_request()
        values: NDArray[np.float32] = self._of_thread.request.infer(inputs)[output].copy()
        return values


class TorchBackend:
    """PyTorch on the CPU or a GPU; in bf16 where the device computes in it."""

    name: ClassVar[str] = "torch"
    keeps_memory = True

    def __init__(self, path: Path, device: str = "auto", precision: str = "auto") -> None:
        import torch

        from pconv.nn.checkpoint import load_network
        from pconv.nn.devices import computes_bf16, resolve_device
        from pconv.nn.fused import FusedUNet

        on = resolve_device(device)
        if precision == "auto":
            precision = "bf16" if computes_bf16(on) else "fp32"
        network, self.recipe = load_network(path)
        self.path, self.device, self.precision = path, str(on), precision
        self.channels, self.multiple = network.config.in_channels, network.config.multiple
        self.noise, self.estimates = network.config.noise_levels > 0, network.config.surface != "none"
        self._network = FusedUNet(network, {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]).to(on)

    def fill(
        self,
        images: NDArray[np.float32],
        holes: NDArray[np.bool_],
        *,
        seed: int = 0,
        origin: tuple[int, int] = (0, 0),
        estimate: NDArray[np.bool_] | None = None,
        everywhere: bool = False,
    ) -> NDArray[np.float32]:
        import torch

        try:
            image = torch.tensor(images, device=self.device)
            hole = torch.tensor(holes, device=self.device)
            start = None if estimate is None else torch.tensor(estimate, device=self.device)
            output = self._network(image, ~hole, seed=seed, origin=origin, estimate=start).clamp(0, 1)
            filled: NDArray[np.float32] = (output if everywhere else torch.where(hole, output, image)).cpu().numpy()
            return filled
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceMemoryError(f"{self.device} has too little memory: {error}") from error


BACKENDS: dict[str, type[OnnxRuntimeBackend] | type[OpenVinoBackend] | type[TorchBackend]] = {
    backend.name: backend for backend in (OnnxRuntimeBackend, OpenVinoBackend, TorchBackend)
}
INSTALL = {
    "onnxruntime": "pip install onnxruntime",
    "openvino": "pip install openvino",
    "torch": "pip install torch safetensors",
}


def open_backend(
    model: str | Path = DEFAULT_MODEL, device: str = "auto", backend: str = "auto", precision: str = "auto"
) -> Backend:
    """Load ``model`` into ``backend``.

    Args:
        model: a bundled model's name, a checkpoint (``.safetensors``, for the torch backend), or what ``pconv export``
            wrote (``.onnx``, for the others).
        device: "auto", "cpu", and with the torch backend "cuda", "cuda:1", "mps".
        backend: one of ``BACKENDS``; "auto" takes the fastest that is installed and can do it.
        precision: "fp32", "bf16", or "auto": bf16 with the torch backend where the device computes in it, else fp32.

    Raises:
        InputError: no such backend, device or precision here; the message says what to install.
        ModelError: no such model, or not a model.
    """
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}; known are {', '.join(PRECISIONS)}")
    if backend != "auto" and backend not in BACKENDS:
        raise InputError(f"unknown backend {backend!r}; known are auto, {', '.join(BACKENDS)}")
    bundled = str(model) in BUNDLED
    suffix = "" if bundled else GRAPH if find_model(model).suffix.lower() == GRAPH else CHECKPOINT
    name = _fastest(suffix, device, precision) if backend == "auto" else backend
    form = CHECKPOINT if name == "torch" else GRAPH
    if not bundled and suffix != form:
        other = "torch" if form == GRAPH else "onnxruntime"
        raise InputError(
            f"the {name} backend takes {form} files, not {model}: use --backend {other}"
            + (", or convert it with pconv export" if form == GRAPH else "")
        )
    if not installed(name):
        raise InputError(f"the {name} backend is not installed: {INSTALL[name]}")
    return BACKENDS[name](find_model(model, form), device, precision)


def installed(backend: str) -> bool:
    """Whether ``backend`` can be imported."""
    modules = ("torch", "safetensors") if backend == "torch" else (backend,)
    return all(importlib.util.find_spec(module) is not None for module in modules)


def _fastest(suffix: str, device: str, precision: str) -> str:
    """The backend for a model file of ``suffix``, "" for one that is there in every form.

    A GPU comes first, which was not at hand to be measured. Else ONNX Runtime, which is as fast as the others in fp32
    (docs/performance.md) and loads in a fraction of PyTorch's time.
    """
    if suffix == CHECKPOINT or device not in ("auto", "cpu") or (device == "auto" and not suffix and _gpu_usable()):
        return "torch"
    if precision == "bf16" and not suffix:
        return "torch"
    order = ["onnxruntime", "openvino"] if suffix else ["onnxruntime", "openvino", "torch"]
    return next((name for name in order if installed(name)), order[0])


def _gpu_usable() -> bool:
    """Whether PyTorch is here and a GPU may be, found without the seconds that importing PyTorch takes."""
    if not installed("torch"):
        return False
    if "torch" not in sys.modules and not _gpu_driver():
        return False
    import torch

    return bool(torch.cuda.is_available() or torch.backends.mps.is_available())


def _gpu_driver() -> bool:
    if sys.platform == "darwin":
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return importlib.util.find_spec("torch") is not None and Path("/dev/kfd").exists()  # AMD's driver
    return True


def _threads() -> int:
    """How many threads to compute with: OMP_NUM_THREADS, which PyTorch follows by itself and clusters set for their
    jobs; 0, each backend's own choice, where it is not set."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdecimal() else 0


class _Graph:
    """What the metadata of a graph of ``pconv export`` say, and what it takes."""

    def __init__(self, path: Path, metadata: dict[str, str], inputs: Sequence[str], outputs: Sequence[str]) -> None:
        if "format" not in metadata:
            raise ModelError(f"{path} is an ONNX file, but not one that pconv export wrote")
        check_format(path, metadata["format"], GRAPH_FORMAT)
        if metadata.get("image") != "float":
            raise ModelError(f"{path} takes 8-bit images, for use without pconv; export it with --image float")
        config = json.loads(metadata["config"])
        self.recipe: dict[str, Any] = json.loads(metadata["recipe"])
        self.channels: int = config["in_channels"]
        self.multiple = int(2 ** len(config["channels"]))
        self.noise, self.estimates = "seed" in inputs, "estimate" in inputs
        self.maps: int = config.get("valid_channels", 1)
        self._inputs, self.outputs = frozenset(inputs), frozenset(outputs)

    def inputs(
        self,
        images: NDArray[np.float32],
        holes: NDArray[np.bool_],
        seed: int,
        origin: tuple[int, int],
        estimate: NDArray[np.bool_] | None,
    ) -> dict[str, NDArray[Any]]:
        """What to run the graph with."""
        start = np.zeros_like(holes) if estimate is None else estimate
        given: dict[str, NDArray[Any]] = {
            "image": images,
            "hole": np.repeat(holes, self.maps, axis=1).view(np.uint8),
            "estimate": start.view(np.uint8),
            "seed": np.array([seed], np.int64),
            "origin": np.array(origin, np.int64),
        }
        return {name: value for name, value in given.items() if name in self._inputs}


def _unreadable(path: Path, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())
    return ModelError(f"{path} cannot be loaded as an ONNX model; give one that pconv export wrote ({reason[:200]})")
