"""``recon stereo``: two photos to depth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recon.cli.options import Json

_Cost = Annotated[
    str, typer.Option("--descriptor", "--cost", help="A name of `recon descriptors`, census, sgbm, or sgbm+wls.")
]
_Intrinsics = Annotated[
    list[str] | None,
    typer.Option(help="Without a calib: f,cx,cy or fx,fy,cx,cy[,k1,…] or a file; once, or twice, for each photo."),
]


def stereo(
    left: Annotated[Path, typer.Argument(help="The left photo.", show_default=False)],
    right: Annotated[Path, typer.Argument(help="The right photo, of the same size.", show_default=False)],
    calib: Annotated[
        Path | None, typer.Option(help="Middlebury's calib.txt, OpenCV's YAML, or KITTI's calib file.")
    ] = None,
    intrinsics: _Intrinsics = None,
    rectified: Annotated[bool, typer.Option("--rectified", help="Rows correspond already, without a calib.")] = False,
    baseline: Annotated[float, typer.Option(help="Distance of the cameras, m; goes before the calib's.")] = 0.0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the products.")] = Path("stereo"),
    descriptor: _Cost = "swift-stereo",
    disparities: Annotated[
        str, typer.Option(help="MAX or MIN:MAX, px at the working size; default: by sparse matches.")
    ] = "",
    max_size: Annotated[int, typer.Option(help="Longer side that is worked at, px; 0: the photos' own.")] = 1600,
    seed: Annotated[int, typer.Option(help="Same seed, same photos, same options: same depth.")] = 0,
    json_output: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the result.")] = False,
) -> None:
    """Depth of the left of two photos: disparity, depth, confidence, coloured points, a picture.

    With --calib depths are metres. Without, the photos' motion is told from their matches, the focal length from
    EXIF; depths are then true up to one factor, unless --baseline says how far the cameras stood apart. Where EXIF
    has no focal length it is guessed, and the shape may be wrong: give --intrinsics.

    Exit codes: 0 done, 2 wrong option or too large a range, 3 unusable photos or calibration, 4 the photos do not
    show the same scene, 5 no depth follows from them, 6 cannot write, 130 interrupted.
    """
    from pipelines.images.intrinsics import parse_intrinsics
    from pipelines.stereo.calib import read_calibration
    from pipelines.stereo.products import FILES, check_place, write_products
    from pipelines.stereo.run import StereoConfig, read_photos
    from pipelines.stereo.run import stereo as run
    from pipelines.stereo.span import parse_span
    from pipelines.store.files import check_file, check_folder
    from pipelines.store.folder import check_no_map
    from recon.cli.terminal import print_json, progress_for

    check_folder(out)
    check_no_map(out)
    for name in FILES if out.is_dir() else ():
        check_file(out / name, (left, right))
    check_place(out)
    config = StereoConfig(
        descriptor,
        max_side=max_size,
        disparities=parse_span(disparities),
        rectified=rectified,
        intrinsics=tuple(parse_intrinsics(text) for text in intrinsics or ()),
        baseline=baseline,
        seed=seed,
    )
    calibration = read_calibration(calib) if calib else None
    result = run(read_photos(left, right), calibration, config, progress=progress_for(quiet or json_output))
    told = write_products(result, out)
    if json_output:
        print_json(told)
        return
    near, middle, far = (f"{told['depth_percentiles'][key]:.3g}" for key in ("1", "50", "99"))
    factor = "" if result.calibration.guessed else ": true up to one factor"
    unit = f" {result.calibration.unit}" if result.calibration.unit else f", without unit{factor}"
    print(f"{out}: depth {near} to {far}, median {middle}{unit}")
    print(
        f"  {100 * told['density']:.1f} % of the pixels measured, the others filled; {result.span.count} disparities "
        f"from {result.span.start} ({result.span.source}); {told['points']:,} points; "
        f"{sum(result.seconds.values()):.1f} s"
    )
    for text in result.warnings:
        print(f"  {text}")
