"""``recon export``: a map for another program."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from recon.cli.options import Component, Map, MovedPhotos

# As in pipelines.export.FORMATS, which would take half a second to import for the help.
_FORMATS = "colmap, ply, poses, nerfstudio, gaussian-splatting, openmvs, colmap-dense or bundler"

_Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder to make; default: MAP/export/FORMAT.")]
_Force = Annotated[bool, typer.Option("--force", help="Replace an earlier export.")]


def export(
    map: Map,
    to: Annotated[str, typer.Option(help=f"{_FORMATS}.", show_default=False)],
    out: _Out = None,
    photos: MovedPhotos = None,
    component: Component = 0,
    force: _Force = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the folder.")] = False,
) -> None:
    """Write a map in the form that another program reads.

    colmap: the model as it is, binary and text. ply: coloured points, and cameras as pyramids. poses: CSV, JSON, TUM.
    With undistorted, upright photos: nerfstudio (transforms.json), gaussian-splatting (images, sparse/0), openmvs
    (for InterfaceCOLMAP), colmap-dense (for patch_match_stereo), bundler (bundle.out).

    Exit codes: 0 done, 2 wrong option, 3 no such map or photos, 6 cannot write, 130 interrupted.
    """
    from pipelines.export import export_map
    from recon.cli.terminal import progress_for

    target, model = export_map(
        map, to, out, component=component, photos=photos, force=force, progress=progress_for(quiet)
    )
    print(target)
    if not quiet:
        print(f"{len(model.names)} photos, {len(model.xyz):,} points", file=sys.stderr)
