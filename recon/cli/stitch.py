"""``recon stitch``: photos of a turning camera to panoramas.

Without annotations as texts, each of which typer would evaluate four times: 3 ms of the start.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recon.cli.options import Descriptor, Detector, Json

if TYPE_CHECKING:
    from pipelines.stitch.debug import Debug

_Photos = Annotated[list[str], typer.Argument(help="Photos, folders, or patterns like 'a*.jpg'.", show_default=False)]
_Out = Annotated[Path, typer.Option("--out", "-o", help="JPEG (cropped), or PNG, TIFF, WebP (transparent border).")]
_Crop = Annotated[bool | None, typer.Option("--crop/--no-crop", help="Cut to the largest inner rectangle.")]


def stitch(
    photos: _Photos,
    out: _Out = Path("pano.jpg"),
    descriptor: Descriptor = "rootsift",
    detector: Detector = "dog",
    max_keypoints: Annotated[int, typer.Option(help="Keypoints kept per photo.")] = 600,
    max_size: Annotated[
        int,
        typer.Option(help="Longer side at which matches are measured, px; keypoints are found at two fifths."),
    ] = 800,
    mode: Annotated[
        str, typer.Option(help="rotation: the camera turned; affine: scans; homography: photos of something flat.")
    ] = "rotation",
    projection: Annotated[str, typer.Option(help="plane, cylinder, sphere, or auto: by field of view.")] = "auto",
    scale: Annotated[float, typer.Option(help="Of the panorama; 1 is the photos' own resolution.")] = 1.0,
    crop: _Crop = None,
    exposure: Annotated[bool, typer.Option(help="Make the overlaps' exposures agree.")] = True,
    distortion: Annotated[bool, typer.Option(help="Estimate the lens's radial distortion.")] = True,
    local: Annotated[bool, typer.Option(help="Shift pixels a little where cameras alone leave ghosts.")] = True,
    max_error: Annotated[float, typer.Option(help="Threshold of matches, px at 1,600 px.")] = 4.0,
    max_megapixels: Annotated[float, typer.Option(help="Refuse larger panoramas.")] = 400.0,
    json_file: Annotated[Path | None, typer.Option("--json-file", help="Write the result as JSON here.")] = None,
    debug: Annotated[Path | None, typer.Option(help="Folder for a numbered picture of every stage.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same photos, same options: same panorama.")] = 0,
    json_output: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result, but no progress.")] = False,
) -> None:
    """Stitch photos, in any order, to panoramas; several in one folder are found and written apart.

    Exit codes: 0 done, 2 wrong option or too large a panorama, 3 no or unusable photos, 4 no overlap, 5 no
    panorama although there is overlap, 6 cannot write, 130 interrupted.
    """
    import json
    import os

    # Photos and pairs are worked on side by side, and the algebra's own threads wait for work by spinning. It reads
    # this when numpy is imported, which nothing above has done.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _keep_memory()
    from pipelines.features.extract import FeatureConfig
    from pipelines.stitch.photos import find_photos
    from pipelines.stitch.run import StitchConfig, keypoints, numbered
    from pipelines.stitch.run import stitch as run
    from pipelines.stitch.told import doubt, plain
    from pipelines.store.files import check_apart, check_file, write_text
    from recon.cli.terminal import print_json, progress_for

    config = StitchConfig(
        FeatureConfig(descriptor, keypoints(detector, max_keypoints), max(64, 2 * max_size // 5), fused=False),
        max_side=max_size,
        mode=mode,
        max_error=max_error,
        distortion=distortion,
        local=local,
        projection=projection,
        scale=scale,
        crop=crop,
        compensate=exposure,
        max_megapixels=max_megapixels,
        seed=seed,
    )
    progress = progress_for(quiet or json_output)
    found, rejected = find_photos(photos, progress=progress)
    if json_file:
        for path in (out, *numbered(out, len(found) // 2)):
            check_apart(json_file, path)
        check_file(json_file, [photo.path for photo in found])
    result = run(found, rejected, out, config, progress=progress, debug=_debug(debug))
    if json_file:
        write_text(json_file, json.dumps(plain(result), indent=2, ensure_ascii=False))
    if json_output:
        print_json(plain(result))
        return
    for one in result.panoramas:
        height, width = one.rendered.pixels.shape[:2]
        print(
            f"{one.path}: {len(one.solved.members)} of {len(found)} photos, {width:,} x {height:,} px, "
            f"{one.canvas.name}, residual {one.solved.rms:.2f} px"
        )
        if warning := doubt(one, result.photos):
            print(f"  {one.path.name}: {warning}.", file=sys.stderr)
    for missing in result.unused:
        print(f"  not used: {missing.name}: {missing.why}", file=sys.stderr)


def _keep_memory() -> None:
    """Let the C library keep what arrays leave for the next ones, in one heap for all threads; where it is glibc.

    Most of this command's memory is touched once; handing it back and taking it anew costs a twentieth of the time.
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    arenas, mapped_beyond, trimmed_beyond = -8, -3, -1  # malloc.h
    for option, value in ((arenas, 1), (mapped_beyond, 32 << 20), (trimmed_beyond, 256 << 20)):
        mallopt(option, value)


def _debug(folder: Path | None) -> "Debug | None":
    if folder is None:
        return None
    from pipelines.stitch.debug import Debug

    return Debug(folder)
