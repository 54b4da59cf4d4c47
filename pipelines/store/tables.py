"""Tables beside a map that are mapped into memory, not read, and made again when they are damaged or do not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import OutputError
from pipelines.core.progress import Progress
from pipelines.store.files import make_folder, write_atomic


@dataclass(frozen=True)
class KeptTable:
    """The place of a table: ``path-KEY.npy``.

    Attributes:
        path: of the file, without the key and the suffix.
        key: fingerprint of what the table is made of; another takes its place.
        name: what the map is told to lack, if it cannot be written.
    """

    path: Path
    key: str
    name: str

    @property
    def file(self) -> Path:
        """Where the table stands."""
        return self.path.with_name(f"{self.path.name}-{self.key}.npy")

    def read(self, fits: Callable[[NDArray], bool]) -> NDArray | None:
        """The table, mapped into memory; None if it is absent, damaged, or does not fit."""
        try:
            table = np.load(self.file, mmap_mode="r", allow_pickle=False)
        except Exception:  # a flipped bit in the header may raise anything
            return None
        return table if fits(table) else None

    def write(self, write: Callable[[BinaryIO], Any], progress: Progress) -> bool:
        """Keep what ``write`` writes, an NPY file, in place of tables of other keys; False, and said, if that cannot
        be."""
        try:
            make_folder(self.path.parent)
            write_atomic(self.file, write)
        except OutputError as error:
            progress.say(f"The map's {self.name} are not kept: {error.what} ({error.why}).")
            return False
        for old in set(self.path.parent.glob(f"{self.path.name}-*.npy")) - {self.file}:
            old.unlink(missing_ok=True)
        return True
