"""What a device does well: bfloat16 products where it has units for them."""

import platform
import re
from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor

from sermtl.config import RunConfig
from sermtl.errors import ConfigError

# By a CPU's bf16 units, the smallest width at which a gain has been measured. Against float32: with matrix units 1.0 x at 0.125 and
# 1.3 x at 0.25; with vector units 1.4 x at 0.125, 1.5 x at 0.25 and 2.2 x at 1.
SMALLEST_WIDTH = {"matrix": 0.25, "vector": 0.125}

# Of CUDA itself (a context, pinned memory), of cuBLAS, cuDNN and cuFFT; a library that finds no room for its handle says the last.
RAN_OUT = ("CUDA error: out of memory", "ALLOC_FAILED", "STATUS_NOT_INITIALIZED")


def multiplies_bf16(config: RunConfig, device: torch.device) -> bool:
    """Whether this run's convolutions and products are in bfloat16 on that device.

    precision = 'auto': on a GPU of compute capability 8 or more; on a CPU with units for it for networks of at least
    their SMALLEST_WIDTH. 'float32' never, 'bf16' always.
    """
    if config.precision != "auto":
        return config.precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    units = cpu_bf16_units()
    return units != "" and config.width >= SMALLEST_WIDTH[units]


def cpu_bf16_units() -> Literal["matrix", "vector", ""]:
    """What this CPU multiplies bfloat16 with: matrix units (AMX), vector units (AVX512_BF16), or nothing."""
    if platform.machine() not in {"x86_64", "AMD64"}:
        return ""
    can = torch.cpu.get_capabilities()
    return "matrix" if can.get("amx_bf16") else "vector" if can.get("avx512_bf16") else ""


def autocast(device: torch.device, enabled: bool) -> AbstractContextManager[None]:
    """bfloat16 for what gains from it, float32 for the rest."""
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def ran_out(error: Exception) -> bool:
    """Whether an error says that the GPU's memory ran out: PyTorch's own, or one of the CUDA libraries that allocate beside it."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in RAN_OUT)


def pick_device(wanted: str) -> str:
    """'auto', 'cpu', 'cuda' or 'cuda:N' -> the device to use. Raises ConfigError for a GPU that is not there."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", wanted):
        raise ConfigError(f"device {wanted!r}: not a device; use 'auto', 'cpu', 'cuda' or 'cuda:N'")
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device {wanted!r}: torch finds no CUDA GPU here; use 'cpu' or 'auto'")
    if wanted.startswith("cuda:") and int(wanted[5:]) >= torch.cuda.device_count():
        raise ConfigError(f"device {wanted!r}: torch finds {torch.cuda.device_count()} GPU(s) here, counted from 0; use another")
    return wanted


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on the device, without waiting for what the device still has to do."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # from pageable memory the copy would wait for the whole queue
