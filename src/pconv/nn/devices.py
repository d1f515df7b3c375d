"""Where to compute, and in what precision."""

from __future__ import annotations

import torch

from pconv.errors import InputError


def resolve_device(name: str | torch.device) -> torch.device:
    """The device called ``name`` ("cpu", "cuda", "cuda:1", "mps"); "auto" takes the fastest there is.

    Raises:
        InputError: no such device in this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        known = ["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        known += ["mps"] if torch.mps.is_available() else []
        raise InputError(f"no device {str(name)!r} on this machine; there are {', '.join(known)}") from error
    return device


def computes_bf16(device: torch.device) -> bool:
    """Whether ``device`` multiplies in bf16. Where it is only emulated, bf16 is several times slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    return False
