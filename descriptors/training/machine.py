"""What a training runs on: its clock, its memory, what its processor multiplies, and how it is called on a card."""

from __future__ import annotations

import ctypes
import platform
import shutil
import sys
import time
from pathlib import Path

import torch
from torch import nn

from descriptors.contract import DescriptorError
from descriptors.runtime import processor

# Options of glibc's mallopt, malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def device_named(name: str) -> torch.device:
    """The device of a name.

    Raises:
        DescriptorError: torch knows none of this name, trains on none of its kind, or it is not here.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise DescriptorError(f"There is no device {name!r}. Known are: cpu, cuda. Use --device cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DescriptorError(f"The device {name!r} is not here. Use --device cpu.")
    return device


def keep_memory() -> None:
    """Let the C library keep what a step frees for the next one. Elsewhere than with glibc nothing happens.

    A step allocates the same hundreds of megabytes each time. Given back to the system, every page of them is zeroed
    and mapped anew: a quarter of the time of a step of L2-Net's trunk on two AMX cores.
    """
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        for option, value in ((_M_MMAP_THRESHOLD, 2**31 - 1), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**28)):
            library.mallopt(option, value)


class Clock:
    """Time spent in training steps, in seconds of the whole machine.

    On a CPU it is the processor time over the number of threads: a process that is stopped, or that shares the
    cores with others, trains later, not less. On a GPU, where the processor only waits, it is the time of day.
    """

    def __init__(self, spent: float, device: torch.device) -> None:
        self.spent = spent
        self._on_cpu = device.type == "cpu"
        self._began = self._now()

    def start(self) -> None:
        """A step begins."""
        self._began = self._now()

    def stop(self) -> None:
        """The step is over; its time counts."""
        self.spent += self._now() - self._began

    def _now(self) -> float:
        return time.process_time() / torch.get_num_threads() if self._on_cpu else time.monotonic()


def hardware(device: torch.device, sharing: int) -> str:
    """What a training runs on, for its card; ``sharing`` is the number of trainings at once."""
    beside = f", one of {sharing} trainings at once" if sharing > 1 else ""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device) + beside
    return f"{torch.get_num_threads()} threads of {processor()}{beside}"


def multiplies_bf16(precision: str, device: torch.device) -> bool:
    """Whether a recipe's ``precision`` means bf16 on a device: asked for, or ``auto`` and multiplied in hardware."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    flags = Path("/proc/cpuinfo")
    text = flags.read_text() if flags.is_file() else ""
    return "avx512_bf16" in text or "amx_bf16" in text


def fuse(network: nn.Module) -> None:
    """Compile the parts of a network in place; without a C++ compiler it stays as it is, slower."""
    if shutil.which("g++") or shutil.which("clang++"):
        for part in network.children():
            part.compile()
