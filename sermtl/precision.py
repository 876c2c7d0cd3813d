"""When a network is multiplied in bfloat16: on devices with units for it, where the network is large enough to gain."""

import platform
from contextlib import AbstractContextManager

import torch

from sermtl.config import RunConfig
from sermtl.errors import ConfigError

SMALLEST_WIDTH = 0.5  # on a CPU; narrower networks lose more in conversions than they gain (docs/performance.md)


def multiplies_bf16(config: RunConfig, device: torch.device) -> bool:
    """Whether this run's convolutions and products are in bfloat16 on that device.

    precision = 'auto': on a GPU of compute capability 8 or more; on a CPU with bf16 matrix units (AMX) for networks of width
    SMALLEST_WIDTH or more. 'float32' never, 'bf16' always.
    """
    if config.precision != "auto":
        return config.precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return cpu_multiplies_bf16() and config.width >= SMALLEST_WIDTH


def cpu_multiplies_bf16() -> bool:
    """Whether this CPU has bf16 matrix units."""
    if platform.machine() not in {"x86_64", "AMD64"}:
        return False
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def autocast(device: torch.device, enabled: bool) -> AbstractContextManager[None]:
    """bfloat16 for what gains from it, float32 for the rest."""
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def pick_device(wanted: str) -> str:
    """'auto', 'cpu', 'cuda' or 'cuda:N' -> the device to use. Raises ConfigError for a GPU that is not there."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device {wanted!r}: torch finds no CUDA GPU here; use 'cpu' or 'auto'")
    return wanted
