"""Frames of a video as photos."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.core.errors import InputError
from pipelines.core.types import Photo

SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".3gp", ".ts"})


def is_video(path: Path) -> bool:
    """Whether a file is a video by its name."""
    return path.suffix.lower() in SUFFIXES


@contextmanager
def video_frames(path: Path, every: int) -> Iterator[Iterator[Photo]]:
    """Every so-maniest frame, the first included, upright as the video says; each lives until the next is asked for.

    Names are ``walk.mp4#000120``. A frame has no EXIF, and its camera is not known.

    Raises:
        InputError: no frame can be read.
    """
    import cv2

    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # its lines would stand beside our sentence
    source = cv2.VideoCapture(str(path))
    try:
        if not path.is_file() or not source.isOpened():
            why = (
                "there is no such file" if not path.is_file() else "OpenCV's FFmpeg does not know it, or it is damaged"
            )
            raise InputError(f"The video {path} cannot be read", why, "an MP4 with H.264 video")
        with TemporaryDirectory(prefix="recon-video-") as folder:
            yield _frames(source, path, every, Path(folder) / "frame.png")
    finally:
        source.release()


def _frames(source: object, path: Path, every: int, file: Path) -> Iterator[Photo]:
    import cv2

    assert isinstance(source, cv2.VideoCapture)
    number = seen = 0
    while source.grab():
        if number % every == 0:
            ok, pixels = source.retrieve()
            if ok and pixels is not None:
                seen += 1
                _, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
                file.write_bytes(data.tobytes())
                height, width = pixels.shape[:2]
                yield Photo(f"{path.name}#{number:06}", file, width, height, hashlib.sha256(data.data).hexdigest())
        number += 1
    if not seen:
        raise InputError(f"The video {path} has no frame that can be read", "", "an MP4 with H.264 video")
