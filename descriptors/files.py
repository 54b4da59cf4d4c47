"""Files that are whole or absent."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file beside its place, whose folder is made, and move it there; what is refused leaves nothing.

    Raises:
        OSError: a full disk, a read-only folder and the like.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not named by the process: threads, and machines that share the folder, may write the same file at once.
    draft = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
