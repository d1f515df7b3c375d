"""Where to compute, and in what precision."""

from __future__ import annotations

import torch

from pconv.errors import InputError


def known_devices() -> list[str]:
    """The devices of this machine, the fastest first."""
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [*gpus, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def resolve_device(name: str | torch.device) -> torch.device:
    """The device called ``name`` ("cpu", "cuda", "cuda:1", "mps"); "auto" takes the fastest there is.

    Raises:
        InputError: no such device in this machine.
    """
    known = known_devices()
    if str(name) == "auto":
        return torch.device(known[0])
    if str(name) not in (*known, *(["cuda"] if torch.cuda.is_available() else [])):
        raise InputError(f"no device {str(name)!r} on this machine; there are auto, {', '.join(known)}")
    return torch.device(name)


def computes_bf16(device: torch.device) -> bool:
    """Whether ``device`` multiplies in bf16. Where it is only emulated, bf16 is several times slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    return False
