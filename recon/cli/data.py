"""``recon data …``: data to train and measure descriptors with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Make data to train and measure descriptors with.")


@app.callback()
def _group() -> None:
    """Make data to train and measure descriptors with."""


@app.command("patches")
def patches(
    map: Annotated[Path, typer.Option(help="Run folder of `recon sfm`.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to make; default: MAP/export/training.")
    ] = None,
    photos: Annotated[Path | None, typer.Option(help="Where the photos are now, if they have moved.")] = None,
    component: Annotated[int, typer.Option(help="Which model of the map; 0 is the largest.")] = 0,
    max_size: Annotated[int, typer.Option(help="Longer side of the stored photos at most, px.")] = 1024,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the folder.")] = False,
) -> None:
    """Turn a map into training data for descriptors: images/ and tracks.npz, from which training cuts its patches.

    `recon train NAME --data map:MAP` does this by itself.
    """
    from pipelines.export import export_training
    from recon.cli.terminal import progress_for

    made = export_training(
        map, out, component=component, photos=photos, max_size=max_size, force=force, progress=progress_for(quiet)
    )
    print(made.folder)
    if not quiet:
        print(f"{made.photos} photos, {made.points:,} points, {made.observations:,} observations", file=sys.stderr)


@app.command("hpatches-patches")
def hpatches_patches(
    sequences: Annotated[Path, typer.Argument(help="Folder of sequences with homographies (HPatches, Oxford).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to make the sets in.", show_default=False)],
    detectors: Annotated[str, typer.Option(help="Comma-separated detectors of recon.")] = "dog,hessian-affine,harris",
    keypoints: Annotated[int, typer.Option(min=1, help="Patches a sequence at most.")] = 1500,
    seed: Annotated[int, typer.Option(help="Of all random choices.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the folder.")] = False,
) -> None:
    """Make patch sets in HPatches' layout (ref, e1-5, h1-5, t1-5) from photos with homographies.

    Keypoints of several detectors, of overlapping ones one; easy, hard and tough geometric noise.
    `recon benchmark hpatches --data DIR` runs on them.
    """
    import numpy as np

    from descriptors.datasets.hpatches import make_patches
    from descriptors.datasets.sequences import read_sequences
    from descriptors.frames import angles, frames_from_keypoints, scales
    from pipelines.features.detectors import DetectorConfig, detect
    from pipelines.store.files import make_folder
    from recon.cli.terminal import progress_for

    configs = [DetectorConfig(name.strip(), 4 * keypoints) for name in detectors.split(",") if name.strip()]

    def find(image):
        found = np.concatenate([detect(image, config).frames for config in configs])
        # Square regions in the reference photo, as in the published set: no affine shape.
        return frames_from_keypoints(found[:, :, 2], scales(found), angles(found))

    found = read_sequences(sequences)
    make_folder(out)
    with progress_for(quiet).stage("Patches", len(found)) as task:
        for sequence in found:
            count = make_patches(sequence, out, find, most=keypoints, seed=seed)
            task.advance(note=f"{sequence.name}: {count}")
    print(out)
