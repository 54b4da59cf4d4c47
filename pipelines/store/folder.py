"""A run folder: where each product of a run stands, who may write in it, and what it was made from."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.config import from_plain
from pipelines.core.errors import BusyError, ConfigError, InputError
from pipelines.core.types import Exif, Photo
from pipelines.store.files import make_folder, write_errors, write_text

SCHEMA = 1
"""Version of the folder's layout; part of recon.json and of every cache key."""


def check_no_map(out: Path) -> None:
    """Raises:
    ConfigError: a map stands in the folder that other products are to be written to.
    """
    if MapFolder(out).ledger_file.exists():
        raise ConfigError(
            f"{out} is a map", "files of the same names would take the place of its own", "another folder with --out"
        )


def photo_of(entry: Mapping[str, Any]) -> Photo:
    """A photo of a map from its entry among the ledger's ``photos``."""
    exif = from_plain(Exif, entry["exif"])
    return Photo(entry["name"], Path(entry["path"]), entry["width"], entry["height"], entry["content"], exif)


@dataclass(frozen=True)
class MapFolder:
    """Paths inside a map made by ``recon sfm``.

    Attributes:
        root: the folder given by ``--out``.
    """

    root: Path

    @property
    def ledger_file(self) -> Path:
        """What the map was made from and with, as JSON."""
        return self.root / "recon.json"

    @property
    def features(self) -> Path:
        """One NPZ per photo and feature configuration."""
        return self.root / "features"

    @property
    def matches(self) -> Path:
        """Per pair, raw and verified matches."""
        return self.root / "matches"

    @property
    def database(self) -> Path:
        """COLMAP database of keypoints, matches and two-view geometries."""
        return self.root / "database.db"

    @property
    def next_database(self) -> Path:
        """The database of models that are being made."""
        return self.root / ".database.db.draft"

    @property
    def sparse(self) -> Path:
        """COLMAP models, one folder per component, largest first."""
        return self.root / "sparse"

    @property
    def sparse_before(self) -> Path:
        """The models that stood in ``sparse`` while others take their place."""
        return self.root / ".sparse.before"

    @property
    def report(self) -> Path:
        """The report to open in a browser."""
        return self.root / "report.html"

    def create(self) -> None:
        """Make the folder and its sub-folders.

        Raises:
            OutputError: it cannot be written.
        """
        for folder in (self.root, self.features, self.matches):
            make_folder(folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; the lock falls with the process, however it ends.

        Raises:
            BusyError: another process holds it.
        """
        path = self.root / ".lock"
        with write_errors(path):
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
                raise BusyError(
                    f"Another recon run (process {holder}) is at work in {self.root}",
                    "two runs in one folder would overwrite each other",
                    "wait for it to end, or choose another folder with --out",
                ) from error
            with write_errors(path):
                os.ftruncate(handle, 0)
                os.pwrite(handle, str(os.getpid()).encode(), 0)
                self._tidy()
            yield
        finally:
            os.close(handle)

    def _tidy(self) -> None:
        """After a killed run: models that were being replaced come back, drafts and their SQLite logs go."""
        if self.sparse_before.exists() and not self.sparse.exists():
            os.replace(self.sparse_before, self.sparse)
        drafts = [*self.root.glob(".*.draft*"), *self.root.glob("*/.*.draft")]
        for draft in [*drafts, self.sparse_before]:
            shutil.rmtree(draft) if draft.is_dir() else draft.unlink(missing_ok=True)

    def read_ledger(self) -> dict[str, Any]:
        """The folder's recon.json, or {} if there is none.

        Raises:
            InputError: the file is not a ledger that this version can read.
        """
        try:
            ledger = json.loads(self.ledger_file.read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError):  # a file was named where a map's folder is
            return {}
        except (OSError, ValueError) as error:
            raise InputError(
                f"Cannot read {self.ledger_file}", str(error), "delete the file; features and matches are kept"
            ) from error
        if not isinstance(ledger, dict) or ledger.get("schema") != SCHEMA:
            raise InputError(
                f"{self.root} was made by another version of recon",
                f"its layout is version {ledger.get('schema') if isinstance(ledger, dict) else '?'}, not {SCHEMA}",
                "the version of recon that made it, or make the map anew in another folder",
            )
        return ledger

    def finished_ledger(self) -> dict[str, Any]:
        """The folder's recon.json, of a run that ended well.

        Raises:
            InputError: there is no finished map in the folder.
        """
        ledger = self.read_ledger()
        if ledger.get("status") != "done":
            raise InputError(
                f"There is no finished map in {self.root}",
                "it has no recon.json of a run that ended well",
                "run `recon sfm PHOTOS --out` with this folder first",
            )
        return ledger

    @property
    def finished(self) -> bool:
        """Whether there is a map: the ledger of a run that ended well."""
        with suppress(InputError):
            self.finished_ledger()
            return True
        return False

    def write_ledger(self, ledger: Mapping[str, Any]) -> None:
        """Replace recon.json."""
        text = json.dumps({"schema": SCHEMA, **ledger}, indent=2, ensure_ascii=False, allow_nan=False)
        write_text(self.ledger_file, text + "\n")
