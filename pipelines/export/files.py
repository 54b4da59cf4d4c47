"""The parts that exports are made of: names other programs can read, cameras as pyramids, folders whole or absent."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import OutputError
from pipelines.core.maps import Model
from pipelines.store.files import make_folder, write_errors

MARK = "recon-export.json"  # stands in every export; only a folder that has it is ever replaced
_KEPT_SUFFIXES = (".jpg", ".jpeg", ".png")


def photo_files(names: Sequence[str], *, flat: bool, ending: str = "") -> dict[str, str]:
    """File names for photos, distinct also where upper and lower case are one.

    Args:
        names: of the photos.
        flat: no folders and no white space: programs that read lists of words, or file names without folders, need
            that. Else names stay as they are, but for those that lead out of the export's folder, as models of COLMAP
            may have them: under such a name the photo itself would be overwritten.
        ending: of all files; without it JPEG and PNG keep theirs, all others become PNG.

    Returns:
        name -> file name with forward slashes.
    """
    files: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        outside = name.startswith("/") or ".." in PurePosixPath(name).parts
        plain = name.replace("/", "__") if flat or outside else name
        path = PurePosixPath(re.sub(r"\s+", "_", plain) if flat else plain)
        suffix = ending or (path.suffix if path.suffix.lower() in _KEPT_SUFFIXES else ".png")
        stem = str(path.with_suffix("")) if path.suffix else str(path)
        file, number = stem + suffix, 2
        while file.casefold() in taken:
            file, number = f"{stem}_{number}{suffix}", number + 1
        taken.add(file.casefold())
        files[name] = file
    return files


def camera_pyramids(model: Model) -> tuple[NDArray[np.float64], NDArray[np.uint8], NDArray[np.int32]]:
    """A model's cameras as small pyramids: points, colours and triangles for :func:`pipelines.export.ply.write_ply`."""
    centres = model.centres
    gaps = np.linalg.norm(centres[:, None] - centres[None, :500], axis=2)
    gaps[gaps < 1e-12] = np.inf
    near = gaps.min(axis=1)
    reach = np.linalg.norm(model.xyz - np.median(model.xyz, axis=0), axis=1) if len(model.xyz) else np.ones(1)
    depth = 0.4 * float(np.median(near)) if np.isfinite(near).any() else 0.2 * float(np.median(reach))
    corners = []
    for camera, pose, centre in zip(model.cameras, model.cam_from_world, centres, strict=True):
        half = 0.4 * np.array([camera.width, camera.height]) / max(camera.width, camera.height)
        base = depth * np.array([[sx * half[0], sy * half[1], 1] for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
        corners.append(np.vstack([centre, centre + base @ pose[:, :3]]))
    sides = np.array([[0, 2, 1], [0, 3, 2], [0, 4, 3], [0, 1, 4], [1, 2, 3], [1, 3, 4]])
    faces = (sides[None] + 5 * np.arange(len(corners))[:, None, None]).reshape(-1, 3).astype(np.int32)
    xyz = np.concatenate(corners)
    return xyz, np.tile(np.array([[230, 90, 20]], np.uint8), (len(xyz), 1)), faces


# --- folders ----------------------------------------------------------------------------------------------------------


@contextmanager
def whole_folder(out: Path, force: bool) -> Iterator[Path]:
    """A draft folder that takes the place of ``out`` when the block ends well, and vanishes when it does not.

    Args:
        out: the folder to make.
        force: replace an earlier export that stands there.

    Raises:
        OutputError: ``out`` holds files (and no force, or some are of no export of ours), is the current folder, or
            cannot be written.
    """
    out = out.resolve()  # "." has no name; and of a link, what it leads to is replaced
    _tidy(out)
    _check_place(out, force)
    make_folder(out.parent)
    draft = out.with_name(f".{out.name}.{os.getpid()}.draft")
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    try:
        with write_errors(out):
            draft.mkdir()
            yield draft
            if out.exists():
                os.replace(out, old)
            os.replace(draft, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if old.exists() and not out.exists():
            os.replace(old, out)
        shutil.rmtree(old, ignore_errors=True)


def _tidy(out: Path) -> None:
    """After killed exports: the one that was being replaced comes back, drafts go; those of live processes stay."""
    for left in out.parent.glob(f".{glob.escape(out.name)}.*"):
        *_, number, role = left.name.split(".")
        if role not in ("draft", "old"):
            continue
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            if role == "old" and not out.exists():
                with write_errors(out):
                    os.replace(left, out)
            shutil.rmtree(left, ignore_errors=True)
        except (ValueError, OSError):
            continue


def _check_place(out: Path, force: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError(f"Cannot export to {out}", "a file stands there", "name another folder with --out")
    if out == Path.cwd():
        why = "it is the current folder, and exports take the place of a folder"
        raise OutputError(f"Cannot export to {out}", why, "name a new folder in it with --out")
    with write_errors(out):
        held = sorted(path.name for path in out.iterdir())
    if not held:
        return
    if MARK not in held:
        why = f"the folder holds files that are no export of recon ({held[0]})"
        raise OutputError(f"Cannot export to {out}", why, "name an empty or new folder with --out")
    if not force:
        raise OutputError(
            f"Cannot export to {out}", "an earlier export stands there", "--force to replace it, or another --out"
        )
    foreign = sorted(_files(out) - _marked(out))
    if foreign:
        raise OutputError(
            f"Cannot replace the export in {out}",
            f"it holds files that are not of the export ({foreign[0]})",
            "take them away, or another --out",
        )


def _files(folder: Path) -> set[str]:
    """The files in a folder, with forward slashes; what file managers leave everywhere does not count."""
    found = (path for path in folder.rglob("*") if not path.is_dir() and path.name not in (".DS_Store", "Thumbs.db"))
    return {path.relative_to(folder).as_posix() for path in found}


def _marked(folder: Path) -> set[str]:
    """The files that an export was made of, by its mark; empty for a mark of others."""
    try:
        return {MARK, *json.loads((folder / MARK).read_text("utf-8"))["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def write_mark(folder: Path, to: str, files: dict[str, str], **more: str) -> None:
    """What the folder is, which file holds which photo, what else is to be known of it, and all files there are."""
    text = {"made_by": "recon export", "to": to, **more, "photos": files, "files": sorted(_files(folder))}
    (folder / MARK).write_text(json.dumps(text, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
