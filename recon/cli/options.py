"""Options that several commands have, each with one name and one line of help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Descriptor = Annotated[str, typer.Option(help="A name of `recon descriptors`, or your own file.")]
Detector = Annotated[str, typer.Option(help="dog, hessian-affine, gftt, harris, fast, orb or akaze.")]
MaxKeypoints = Annotated[int, typer.Option(help="Strongest keypoints kept per photo.")]
MaxSize = Annotated[int, typer.Option(help="Longer side at which keypoints are found, px.")]
Ratio = Annotated[float | None, typer.Option(help="Nearest / second-nearest ratio; default: the descriptor's.")]
Intrinsics = Annotated[
    str, typer.Option(help="f,cx,cy or fx,fy,cx,cy[,k1,…], optionally @WxH; or a cameras.txt or JSON file.")
]
Map = Annotated[Path, typer.Argument(help="Run folder of `recon sfm`, or a COLMAP model.", show_default=False)]
Component = Annotated[int, typer.Option(help="Which model of the map; 0 is the largest.")]
MovedPhotos = Annotated[Path | None, typer.Option(help="Where the photos are now, if they have moved.")]
Seed = Annotated[int, typer.Option(help="Of all random choices.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
