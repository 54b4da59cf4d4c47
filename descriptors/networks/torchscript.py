"""Networks of other people that arrive as TorchScript: a graph with its weights, run as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from descriptors.contract import DescriptorError


def load_script(path: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """A function (N,1,S,S) float32 → (N,D) float32 that runs a TorchScript file on the CPU.

    Raises:
        DescriptorError: the file is none.
    """
    import torch

    try:
        network = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()
        raise DescriptorError(f"{path} is no TorchScript file: {reason[0] if reason else error}") from error

    def run(patches: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return network(torch.from_numpy(np.ascontiguousarray(patches))).float().numpy()

    return run
