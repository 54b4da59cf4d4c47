"""A contestant of a benchmark in a process of its own: how it ended, how long it took, how much memory it had."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ran:
    """A process that has ended.

    Attributes:
        code: its exit code.
        said: last line of its messages, or else its exit code in words.
        seconds: wall time, start included.
        cpu: seconds of processor time, over all cores.
        peak_memory: bytes, largest resident memory.
    """

    code: int
    said: str
    seconds: float
    cpu: float
    peak_memory: int


def run_process(command: Sequence[str], messages: Path) -> Ran:
    """Run a command to its end; what it prints goes to the file ``messages``."""
    begin = time.perf_counter()
    with open(messages, "wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=as_installed())
        with ThreadPoolExecutor(1) as pool:
            watched = pool.submit(_peak_memory, process.pid)
            _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    lines = messages.read_text(errors="replace").strip().splitlines()
    said = lines[-1] if lines else f"ended with exit code {process.returncode}"
    own = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Ran(process.returncode, said, seconds, usage.ru_utime + usage.ru_stime, watched.result() or own)


def as_installed() -> dict[str, str]:
    """The environment, where Python keeps what it has compiled, as installed programs find it."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _peak_memory(process: int) -> int:
    """Largest resident memory of a process, bytes, until it ends; 0 where the system has no /proc.

    The system's own account (ru_maxrss) begins with the memory of the process that started it, which is this one.
    """
    most = 0
    while True:
        try:
            status = Path(f"/proc/{process}/status").read_text()
        except OSError:
            return most
        peak = next((line for line in status.splitlines() if line.startswith("VmHWM")), "")
        if not peak:  # It has ended, but has not been waited for yet.
            return most
        most = max(most, 1024 * int(peak.split()[1]))
        time.sleep(0.01)
