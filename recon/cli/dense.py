"""``recon dense``: a map in, depth maps, a coloured cloud and a mesh out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from recon.cli.options import Component, Json, Map, MovedPhotos

_Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder to make; default: MAP/dense.")]


def dense(
    map: Map,
    out: _Out = None,
    size: Annotated[int, typer.Option(help="Longer side of the undistorted photos that depth is found in, px.")] = 1000,
    descriptor: Annotated[
        str, typer.Option(help="Matching cost: census, or a name of `recon descriptors`.")
    ] = "census",
    neighbours: Annotated[int, typer.Option(help="Photos that each one is compared with.")] = 5,
    consistent: Annotated[int, typer.Option(help="Other photos that must agree about a point.")] = 2,
    mesh: Annotated[str, typer.Option(help="poisson or none.")] = "poisson",
    triangles: Annotated[int, typer.Option(help="Of the mesh at most; 0 for as many as come.")] = 1_000_000,
    photos: MovedPhotos = None,
    component: Component = 0,
    json_output: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the verdict.")] = False,
) -> None:
    """A map in; depth maps, a coloured point cloud with normals and a mesh out, on the CPU.

    cloud.ply; mesh.ply, mesh.obj and mesh.glb with colours at the vertices; depth/ and turntable.jpg to look at; a
    report to open in a browser. A run that was interrupted goes on where it was when the same command is given again.

    Exit codes: 0 done, 2 wrong option, 3 no such map, a map of one photo, or photos missing, 4 no photo has a
    neighbour, or none agree, 6 cannot write, 7 another run is at work in the folder, 130 interrupted.
    """
    from pipelines.dense.config import DenseConfig
    from pipelines.dense.run import run_dense
    from recon.cli.terminal import print_json, progress_for
    from recon.report.dense import write_dense_report

    config = DenseConfig(size, descriptor, neighbours, consistent, mesh=mesh, triangles=triangles)
    result = run_dense(
        map,
        config,
        out=out,
        photos=photos,
        component=component,
        publish=write_dense_report,
        progress=progress_for(quiet or json_output),
    )
    if json_output:
        print_json(result.as_plain())
        return
    print(result.verdict)
    for photo in result.photos:
        if photo.why:
            print(f"  {photo.name}: {photo.why}.")
    if not quiet:
        folder = out or map / "dense"
        print(f"Cloud: {folder / result.files['cloud']}", file=sys.stderr)
        if "mesh ply" in result.files:
            print(f"Mesh: {folder / result.files['mesh ply']} (also .obj, .glb)", file=sys.stderr)
        print(f"Report: {folder / result.files['report']}", file=sys.stderr)
