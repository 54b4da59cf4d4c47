"""``recon data …``: data to train and measure descriptors with: published sets by name, and sets made from photos."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from recon.cli.options import Component, MovedPhotos, Seed
from recon.cli.values import comma_separated

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Get or make data to train and measure descriptors with."
)


@app.callback()
def _group() -> None:
    """Get or make data to train and measure descriptors with."""


@app.command("list")
def list_sets(
    data: Annotated[Path, typer.Option("--data", "-d", help="Folder of data sets.")] = Path("data"),
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Published data sets that recon can get: name, size, what for, and whether they are there."""
    from descriptors.datasets.fetch import DATA_SETS, present

    there = {one.name: f"{len(present(one, data))} of {len(one.parts)}" for one in DATA_SETS.values()}
    if as_json:
        rows = [
            {
                "name": one.name, "folder": str(data / one.folder), "size": one.size, "about": one.about,
                "parts_here": there[one.name], "mirrors": [s.url for part in one.parts for s in part.sources],
            }
            for one in DATA_SETS.values()
        ]  # fmt: skip
        print(json.dumps(rows, indent=1))
        return
    for one in DATA_SETS.values():
        print(f"{one.name:20}{one.size}; parts here: {there[one.name]}\n    {one.about}")


@app.command("get")
def get(
    names: Annotated[list[str], typer.Argument(help="Names, see recon data list.", show_default=False)],
    data: Annotated[Path, typer.Option("--data", "-d", help="Folder of data sets.")] = Path("data"),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the folders.")] = False,
) -> None:
    """Download, check and unpack published data sets; goes on where it broke off.

    Without a network, put the archives into DATA/downloads and give the same command.
    """
    from descriptors.datasets.fetch import DATA_SETS, fetch
    from descriptors.datasets.scenes import DataError
    from pipelines.core.config import known_name
    from pipelines.core.errors import InputError
    from recon.cli.terminal import progress_for

    for name in names:
        known_name("data set", name, DATA_SETS, "recon data get")
    for name in names:
        chosen = DATA_SETS[name]
        with progress_for(quiet).stage(name, 100 * len(chosen.parts)) as task:
            percent: dict[str, int] = {}

            def hear(file: str, there: int, total: int, task=task, percent=percent) -> None:
                now = 100 * there // total if total else 0
                if now > percent.get(file, 0):
                    task.advance(now - percent.get(file, 0), note=f"{file}: {there / 1e6:,.0f} MB")
                    percent[file] = now

            try:
                print(fetch(chosen, data, hear=hear))
            except DataError as error:
                raise InputError(str(error)) from error


@app.command("patches")
def patches(
    map: Annotated[Path, typer.Option(help="Run folder of `recon sfm`.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to make; default: MAP/export/training.")
    ] = None,
    photos: MovedPhotos = None,
    component: Component = 0,
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
    seed: Seed = 0,
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
    from pipelines.core.config import check_seed
    from pipelines.core.errors import ConfigError
    from pipelines.features.detectors import DetectorConfig, detect
    from pipelines.store.files import make_folder
    from recon.cli.terminal import progress_for

    configs = [DetectorConfig(name, 4 * keypoints) for name in comma_separated(detectors)]
    check_seed(seed)
    if not configs:
        raise ConfigError("--detectors names no detector", "keypoints must be found somehow", "dog")

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
