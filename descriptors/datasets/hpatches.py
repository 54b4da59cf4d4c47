"""HPatches patches (Balntas et al., CVPR 2017) in the layout in which they are published, and a maker of such sets.

A sequence is a folder with ``ref.png``, ``e1.png`` … ``e5.png``, ``h1`` … ``h5`` and ``t1`` … ``t5``: columns of
65 x 65 patches; row k of all of them shows one place, in the reference photo and, with easy, hard and tough geometric
noise, in the five others.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from descriptors.datasets.photos import carry_frames
from descriptors.datasets.scenes import DataError, read_grey
from descriptors.datasets.sequences import Sequence
from descriptors.frames import extract_patches, scales
from descriptors.training.augment import Jitter, jitter_frames

SIZE = 65
LEVELS = {"easy": "e", "hard": "h", "tough": "t"}
COLUMNS = ("ref", *(f"{letter}{k}" for letter in LEVELS.values() for k in range(1, 6)))
# Strengths at which the median overlap of a keypoint's circle with the jittered one is 0.85, 0.72 and 0.60, by
# numerical integration; 0.85 and 0.72 are what the makers of HPatches give for easy and hard.
_STRENGTH = {"easy": 0.8, "hard": 1.55, "tough": 2.45}
JITTER: dict[str, Jitter] = {
    name: Jitter(shift=0.1 * k, scale=0.08 * k, angle=0.1 * k, shear=0.06 * k, turns=False)
    for name, k in _STRENGTH.items()
}
"""Geometric noise of the made sets."""
MAGNIFICATION = 5.0
"""Half side of a patch in units of the keypoint's scale, as in the published set."""

_TEST: dict[str, str] = {
    "a": """i_ajuntament i_resort i_table i_troulos i_bologna i_lionnight i_porta i_zion i_brooklyn i_fruits i_books
        i_bridger i_whitebuilding i_kurhaus i_salon i_autannes i_tools i_santuario i_fog i_nijmegen v_courses
        v_coffeehouse v_abstract v_feast v_woman v_talent v_tabletop v_bees v_strand v_fest v_yard v_underground
        v_azzola v_eastsouth v_yuri v_soldiers v_man v_pomegranate v_birdwoman v_busstop""",
    "b": """i_fruits i_melon i_castle i_resort i_chestnuts i_kions i_kurhaus i_autannes i_duda i_partyfood i_ski
        i_dome i_greenhouse i_pencils i_porta i_lionday i_school i_bridger i_village i_fog v_astronautis v_bip
        v_charing v_woman v_feast v_yard v_churchill v_graffiti v_london v_sunseason v_posters v_bees v_apprentices
        v_birdwoman v_colors v_laptop v_there v_adam v_underground v_war""",
    "c": """i_ski i_table i_troulos i_melon i_tools i_kions i_londonbridge i_nijmegen i_boutique i_parking i_steps
        i_fog i_leuven i_dc i_partyfood i_pool i_castle i_bologna i_smurf i_crownnight v_azzola v_tempera v_machines
        v_coffeehouse v_graffiti v_artisans v_maskedman v_talent v_bees v_dirtywall v_blueprint v_war v_adam
        v_pomegranate v_busstop v_weapons v_gardens v_feast v_man v_wounded""",
}
SPLITS = ("a", "b", "c", "illum", "view", "full")


def split_names(split: str, present: list[str]) -> list[str]:
    """Test sequences of a split, of those that are present (sorted names).

    Raises:
        DataError: there is no such split.
    """
    if split not in SPLITS:
        raise DataError(f"HPatches has no split {split!r}; there are {', '.join(SPLITS)}.")
    if split in _TEST:
        wanted = set(_TEST[split].split())
        return [name for name in present if name in wanted]
    prefix = {"illum": "i_", "view": "v_", "full": ""}[split]
    return [name for name in present if name.startswith(prefix)]


@dataclass(frozen=True)
class PatchSequence:
    """One sequence: its name, its folder, and how many patches each column holds."""

    name: str
    folder: Path
    count: int

    def column(self, name: str) -> NDArray[np.uint8]:
        """Patches (N,1,65,65) of a column, one of :data:`COLUMNS`.

        Raises:
            DataError: the file is missing, or of another size than ``ref.png``.
        """
        path = self.folder / f"{name}.png"
        picture = read_grey(path)
        if picture.shape != (self.count * SIZE, SIZE):
            raise DataError(f"{path} is {picture.shape[1]} x {picture.shape[0]} pixels, not 65 x {self.count * SIZE}.")
        return picture.reshape(-1, 1, SIZE, SIZE)


def read_patches(root: Path) -> list[PatchSequence]:
    """All sequences below a folder, sorted by name.

    Raises:
        DataError: there is none, or one lacks a column.
    """
    found = []
    for reference in sorted(Path(root).glob("*/ref.png")):
        folder = reference.parent
        missing = [name for name in COLUMNS if not (folder / f"{name}.png").is_file()]
        if missing:
            raise DataError(f"{folder} lacks {', '.join(f'{name}.png' for name in missing)}.")
        found.append(PatchSequence(folder.name, folder, read_grey(reference).shape[0] // SIZE))
    if not found:
        raise DataError(
            f"{root} holds no HPatches patches (NAME/ref.png, e1.png …). Put hpatches-release there, or make a set "
            "from photos with homographies: recon data hpatches-patches SEQUENCES --out DIR."
        )
    return found


# --- making a set ---------------------------------------------------------------------------------------------


def make_patches(
    sequence: Sequence, out: Path, detect: Callable[[NDArray[np.uint8]], NDArray[np.float32]], *,
    most: int = 1500, seed: int = 0,
) -> int:  # fmt: skip
    """Write the sixteen columns of one sequence below ``out``; returns how many patches each has.

    As the published set was made: keypoints of the reference photo, of overlapping ones a random one; regions of five
    times the scale, wholly inside the photo, here in all six photos; noise of three levels in the reference's frame,
    carried to the other photos by the homography's own affine map there.

    Args:
        sequence: five homographies at least; of more the first five are used.
        detect: grey photo (H,W) → frames (N,2,3), with orientation.
        most: patches at most, drawn at random.
        seed: of all draws.

    Raises:
        DataError: fewer than five homographies, no keypoint that all photos see, or nothing can be written.
    """
    if len(sequence.homographies) < 5:
        raise DataError(f"{sequence.name} has {len(sequence.homographies)} homographies; six photos are needed.")
    photos = [read_grey(path) for path in sequence.photos[:6]]
    rng = np.random.default_rng([seed, *sequence.name.encode()])
    frames = detect(photos[0])
    frames = frames[rng.permutation(len(frames))]
    frames = frames[_inside(frames, photos[0].shape)]
    frames = frames[apart(frames)]
    columns: dict[str, NDArray[np.float32]] = {}
    seen = np.ones(len(frames), bool)
    for level, letter in LEVELS.items():
        for k in range(5):
            noisy = carry_frames(jitter_frames(frames, JITTER[level], rng), sequence.homographies[k])
            seen &= _inside(noisy, photos[k + 1].shape)
            columns[f"{letter}{k + 1}"] = noisy
    kept = np.flatnonzero(seen)[:most]
    if not len(kept):
        raise DataError(f"{sequence.name} has no keypoint whose region all six photos show.")
    draft = out / f".{sequence.name}.{os.getpid()}.draft"
    try:
        draft.mkdir(parents=True, exist_ok=True)
        _write(draft / "ref.png", photos[0], frames[kept])
        for name, noisy in columns.items():
            _write(draft / f"{name}.png", photos[int(name[1])], noisy[kept])
        shutil.rmtree(out / sequence.name, ignore_errors=True)
        os.replace(draft, out / sequence.name)
    except OSError as error:
        raise DataError(f"{out / sequence.name} cannot be written: {error.strerror}. Choose another --out.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return len(kept)


def apart(frames: NDArray[np.float32]) -> NDArray[np.intp]:
    """Indices of frames (N,2,3) whose circles overlap no earlier kept one by more than half (shared / joint area)."""
    centre, radius = frames[:, :, 2].astype(np.float64), scales(frames).astype(np.float64)
    kept: list[int] = []
    for k in range(len(frames)):
        near = np.array(kept, np.intp)
        distance = np.linalg.norm(centre[near] - centre[k], axis=1)
        if not (circle_overlap(radius[near], np.full(len(near), radius[k]), distance) > 0.5).any():
            kept.append(k)
    return np.array(kept, np.intp)


def circle_overlap(r: NDArray, s: NDArray, d: NDArray) -> NDArray[np.float64]:
    """Shared over joint area (N,) of circles with radii r and s at distance d."""
    small, large = np.minimum(r, s), np.maximum(r, s)
    safe = np.maximum(d, 1e-12)
    a = np.arccos(np.clip((safe**2 + r**2 - s**2) / (2 * safe * r), -1, 1))
    b = np.arccos(np.clip((safe**2 + s**2 - r**2) / (2 * safe * s), -1, 1))
    lens = r**2 * (a - np.sin(2 * a) / 2) + s**2 * (b - np.sin(2 * b) / 2)
    shared = np.where(d >= r + s, 0.0, np.where(d <= large - small, np.pi * small**2, lens))
    return shared / (np.pi * (r**2 + s**2) - shared)


def _inside(frames: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    corners = MAGNIFICATION * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    places = np.einsum("nij,cj->nci", frames[:, :, :2], corners) + frames[:, None, :, 2]
    limit = np.array(shape[::-1]) - 0.5
    return ((places >= -0.5) & (places <= limit)).all(axis=(1, 2))


def _write(path: Path, photo: NDArray[np.uint8], frames: NDArray[np.float32]) -> None:
    patches = extract_patches(photo, frames, patch_size=SIZE, magnification=MAGNIFICATION)
    coded, code = cv2.imencode(".png", patches.reshape(-1, SIZE))
    if not coded:
        raise OSError(0, "the picture cannot be coded as PNG")
    path.write_bytes(code.tobytes())
