"""``recon map …``: models of others become maps; maps get metres and a place on earth."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from recon.cli.options import Descriptor, Detector, Json, MaxKeypoints, MaxSize, Ratio, Seed

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Make a map of a COLMAP model of others; give a map its scale and place.",
)


@app.callback()
def _group() -> None:
    """Make a map of a COLMAP model of others; give a map its scale and place."""


@app.command("import")
def import_(
    model: Annotated[Path, typer.Argument(help="Folder of a COLMAP model, or one with it in sparse/0 or sparse.")],
    images: Annotated[Path, typer.Option(help="Folder of its photos.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The map to make.", show_default=False)],
    descriptor: Descriptor = "rootsift",
    detector: Detector = "dog",
    max_keypoints: MaxKeypoints = 8192,
    max_size: MaxSize = 1600,
    neighbours: Annotated[int, typer.Option(min=1, help="Photos that each is matched with at most.")] = 20,
    ratio: Ratio = None,
    seed: Seed = 0,
    json_output: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the verdict.")] = False,
) -> None:
    """Make a map of a COLMAP model and its photos: its poses and intrinsics stay, its points are triangulated anew
    from recon's features, so that `recon localize`, `export` and `sfm --add-to` work with it.

    Exit codes: 0 done, 2 wrong option, or a camera that does not fit its photo, 3 no model or no photos of it,
    4 no overlap, 5 no points, 6 cannot write, 7 another run is at work in the folder, 130 interrupted.
    """
    from pipelines.features.detectors import DetectorConfig
    from pipelines.features.extract import FeatureConfig
    from pipelines.matching.matcher import MatchConfig
    from pipelines.sfm.importing import import_model
    from pipelines.store.folder import MapFolder
    from recon.cli.terminal import print_json, progress_for
    from recon.cli.values import descriptor_name
    from recon.report.page import write_report

    folder = MapFolder(out)
    progress = progress_for(quiet or json_output)
    result = import_model(
        model,
        images,
        folder,
        FeatureConfig(
            descriptor_name(descriptor), DetectorConfig(name=detector, max_keypoints=max_keypoints), max_size
        ),
        MatchConfig(ratio),
        neighbours=neighbours,
        seed=seed,
        progress=progress,
    )
    write_report(folder.report, result.summary, result.models, result.thumbnails, title=out.resolve().name)
    if json_output:
        print_json({**folder.read_ledger(), "warnings": progress.warnings})
        return
    print(result.summary.verdict)
    for missing in result.summary.rejected:
        print(f"  {missing.name}: {missing.why}.")
    if not quiet:
        print(f"Report: {folder.report}", file=sys.stderr)


@app.command("align")
def align(
    map_folder: Annotated[Path, typer.Argument(help="A map of `recon sfm` or `recon map import`.", metavar="MAP")],
    gps: Annotated[bool, typer.Option("--gps", help="By the GPS in the photos' EXIF.")] = False,
    centres: Annotated[
        Path | None, typer.Option(help="By a text file: photo's name and its camera's x, y, z in metres on each line.")
    ] = None,
    distance: Annotated[
        tuple[str, str, float] | None,
        typer.Option(help="By the metres between the cameras of two photos.", metavar="PHOTO PHOTO METRES"),
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="Metres that a place may be off; default: 15 for GPS, 0.1 for centres.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Bring a map into metres: afterwards `recon localize` gives places in metres, with GPS also on earth.

    With --gps the map's axes become east, north and up. Places that lie off by more than the tolerance are left out.
    The alignment stays with the map, also when it grows; a map that is made anew must be aligned again.

    Exit codes: 0 done, 2 wrong option, 3 no map, or it cannot be aligned, 6 cannot write, 7 the map is in use, 130
    interrupted.
    """
    from dataclasses import asdict

    from pipelines.core.errors import ConfigError
    from pipelines.sfm.align import align_distance, align_to, gps_target, read_centres
    from pipelines.store.folder import MapFolder
    from recon.cli.terminal import print_json

    ways = {"--gps": gps, "--centres": centres is not None, "--distance": distance is not None}
    if sum(ways.values()) != 1:
        raise ConfigError(
            "A map is aligned in one way", f"of {', '.join(ways)}, {sum(ways.values())} were given", "one"
        )
    if tolerance is not None and not tolerance > 0:
        raise ConfigError(f"A tolerance of {tolerance:g} m is not possible", "", "a length above 0")
    if tolerance is not None and distance is not None:
        raise ConfigError("A distance has no tolerance", "both cameras are put exactly so far apart", "it alone")
    folder = MapFolder(map_folder)
    if distance is not None:
        made = align_distance(folder, *distance)
    elif centres is not None:
        made = align_to(folder, read_centres(centres, tolerance or 0.1))
    else:
        made = align_to(folder, gps_target(folder, tolerance or 15.0))
    if json_output:
        print_json({name: asdict(entry) for name, entry in made.items()})
        return
    for name, entry in made.items():
        fit = (
            f", {entry.photos} cameras, median {entry.median:.3g} m and at most {entry.largest:.3g} m from their places"
        )
        left = f", {entry.outliers} left out" if entry.outliers else ""
        print(f"{name}: 1 unit = {entry.scale:.6g} m" + ("" if entry.how == "distance" else fit + left))
