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
