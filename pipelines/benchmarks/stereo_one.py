"""One matching cost on rectified pairs, in a process whose memory is its own: jobs.json in, maps out."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np


def main(jobs: Path) -> None:
    """Match every pair of a list, the first one twice so that what is compiled or loaded once does not count."""
    import cv2

    from pipelines.stereo.run import StereoConfig

    plan = json.loads(jobs.read_text())
    matcher = StereoConfig(plan["cost"]).matcher
    for number, pair in enumerate(plan["pairs"]):
        left, right = (
            np.ascontiguousarray(np.asarray(cv2.imread(pair[side]))[:, :, ::-1]) for side in ("left", "right")
        )
        if number == 0:
            matcher(left, right, 0, pair["count"])
        begin = time.perf_counter()
        found = matcher(left, right, 0, pair["count"])
        seconds = time.perf_counter() - begin
        np.savez(pair["out"], values=found.values, measured=found.measured, seconds=seconds)
        print(pair["left"], f"{seconds:.2f} s", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
