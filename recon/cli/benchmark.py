"""``recon benchmark …``: recon and its peers, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Measure recon side by side with its peers.")


@app.callback()
def _group() -> None:
    """Measure recon side by side with its peers."""


@app.command("sfm")
def sfm(
    data: Annotated[list[Path], typer.Argument(help="Data sets: folders with images/ and, if known, ground truth.")],
    descriptors: Annotated[str, typer.Option(help="Comma-separated names; see `recon descriptors`.")] = "rootsift",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for maps and results.")] = Path("benchmark-sfm"),
    max_size: Annotated[int, typer.Option(help="Longer side at which features are found, px.")] = 1600,
    max_keypoints: Annotated[int, typer.Option(help="Features per photo.")] = 8192,
    fix_intrinsics: Annotated[
        bool, typer.Option("--fix-intrinsics", help="Give the ground truth's intrinsics and keep them.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of all random choices.")] = 0,
    json_output: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """pycolmap's own SIFT pipeline and ours on the same photos, one process after the other.

    Prints photos registered, points, track length, reprojection error, errors of camera centres and rotations
    where the truth is known, wall time, its ratio to the peer's, and peak memory; leaves sfm.json and sfm.html.
    """
    from descriptors.registry import spec
    from recon.benchmark.board import write_board
    from recon.benchmark.sfm import Setting, run_benchmark, table, write_results
    from recon.cli.terminal import print_columns, print_json, progress_for

    names = [name.strip() for name in descriptors.split(",") if name.strip()]
    for name in names:
        spec(name)
    setting = Setting(max_size, max_keypoints, seed, fix_intrinsics)
    rows = run_benchmark(data, names, out, setting, progress=progress_for(json_output))
    results = write_results(rows, out, setting)
    write_board(out / "sfm.html", rows, setting)
    if json_output:
        print_json(results)
    else:
        print_columns(*table(rows))
        print(f"Plots: {out / 'sfm.html'}")
