"""``recon sfm``: photos in, 3D model out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recon.cli.options import Descriptor, Detector, Intrinsics, Json, MaxKeypoints, MaxSize, Ratio

if TYPE_CHECKING:
    from pipelines.sfm.run import SfmResult
    from pipelines.store.folder import MapFolder

_Photos = Annotated[list[Path], typer.Argument(help="A folder of photos, or photo files.", show_default=False)]
_Out = Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; default: PHOTOS-map, beside the photos.")]
_Add = Annotated[Path | None, typer.Option("--add-to", help="Add the photos to this map; its own options hold.")]
_WHEN_GROWING = {"photos", "add_to", "masks", "json_output", "quiet"}
"""Parameters that may stand beside --add-to."""


def sfm(
    context: typer.Context,
    photos: _Photos,
    out: _Out = None,
    add_to: _Add = None,
    descriptor: Descriptor = "rootsift",
    detector: Detector = "dog",
    max_keypoints: MaxKeypoints = 8192,
    max_size: MaxSize = 1600,
    pairs: Annotated[
        str,
        typer.Option(help="auto, exhaustive, sequential, spatial (GPS), retrieval, or a file of name pairs."),
    ] = "auto",
    neighbours: Annotated[int, typer.Option(help="Retrieval and spatial pairs: partners per photo.")] = 20,
    ratio: Ratio = None,
    match_first: Annotated[
        int,
        typer.Option(help="Largest keypoints matched first, the others along epipolar lines. 0: all at once."),
    ] = 3072,
    min_matches: Annotated[int, typer.Option(help="Verified matches that a pair needs.")] = 15,
    max_error: Annotated[float, typer.Option(help="Verification threshold, px at 1,600 px.")] = 4.0,
    intrinsics: Intrinsics = "",
    camera_model: Annotated[
        str, typer.Option(help="COLMAP camera model; SIMPLE_RADIAL, or a richer one where the photos tell it.")
    ] = "",
    single_camera: Annotated[bool, typer.Option("--single-camera", help="All photos share their intrinsics.")] = False,
    camera_per_photo: Annotated[
        bool, typer.Option("--camera-per-photo", help="None do: a zoom lens, photos from everywhere in one size.")
    ] = False,
    fix_intrinsics: Annotated[bool, typer.Option("--fix-intrinsics", help="Keep the intrinsics as given.")] = False,
    masks: Annotated[Path | None, typer.Option(help="Folder of masks (black = ignore), photo.jpg.png.")] = None,
    mapper: Annotated[str, typer.Option(help="incremental, or global.")] = "incremental",
    refine_keypoints: Annotated[
        bool, typer.Option(help="Measure keypoints anew by grey values, once the cameras are known.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Same seed, same photos, same options: same map.")] = 0,
    json_output: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the verdict.")] = False,
) -> None:
    """Photos in, 3D model out: camera poses, intrinsics, coloured points, and a report to open in a browser.

    A run that was interrupted goes on where it was when the same command is given again.

    Exit codes: 0 done, 2 wrong option, 3 unusable input, 4 no overlap, 5 no model, 6 cannot write,
    7 another run is at work in the folder, 130 interrupted.
    """
    from pipelines.core.errors import ConfigError
    from pipelines.features.detectors import DetectorConfig
    from pipelines.features.extract import FeatureConfig
    from pipelines.geometry.two_view import VerifyConfig
    from pipelines.images.cameras import CameraConfig
    from pipelines.images.intrinsics import parse_intrinsics
    from pipelines.matching.matcher import MatchConfig
    from pipelines.pairs.select import PairingConfig
    from pipelines.sfm.config import MappingConfig, SfmConfig
    from pipelines.sfm.photos import map_config
    from pipelines.sfm.run import run_sfm
    from pipelines.store.folder import SCHEMA, MapFolder
    from recon.cli.terminal import print_json, progress_for
    from recon.cli.values import descriptor_name

    if add_to and out:
        raise ConfigError("A map grows where it stands", "--add-to and --out name two folders", "--add-to alone")
    if add_to and (others := _given(context) - _WHEN_GROWING):
        words = ", ".join(sorted(f"--{name.replace('_', '-')}" for name in others))
        raise ConfigError("A map grows with its own options", f"beside --add-to there is {words}", "--add-to without")
    folder = MapFolder(add_to or out or _default_out(photos))
    if add_to:
        config = map_config(folder)
    else:
        config = SfmConfig(
            FeatureConfig(
                descriptor_name(descriptor), DetectorConfig(name=detector, max_keypoints=max_keypoints), max_size
            ),
            PairingConfig("list", list_file=str(Path(pairs).resolve()))
            if Path(pairs).is_file()
            else PairingConfig(pairs, neighbours),
            MatchConfig(ratio, match_first),
            VerifyConfig(max_error, min_matches),
            CameraConfig(
                camera_model, parse_intrinsics(intrinsics) if intrinsics else None, single_camera, camera_per_photo
            ),
            MappingConfig(mapper, fix_intrinsics, not (camera_model or intrinsics), refine_keypoints),
            seed,
        )
    progress = progress_for(quiet or json_output)
    source = photos[0] if len(photos) == 1 and not photos[0].is_file() else photos
    result = run_sfm(
        source,
        folder,
        config,
        masks=masks,
        grow=add_to is not None,
        publish=lambda result: _report(folder, result),
        progress=progress,
    )
    if json_output:
        print_json({"schema": SCHEMA, **result.ledger, "warnings": progress.warnings})
    if result.failure is not None:
        raise result.failure
    if not json_output:
        print(result.summary.verdict)
        absent: list[Any] = [*result.summary.unregistered, *result.summary.rejected]
        for missing in absent:
            print(f"  {missing.name}: {missing.why}." + (f" Try: {missing.try_}." if missing.try_ else ""))
        if not quiet:
            print(f"Report: {folder.report}", file=sys.stderr)


def _given(context: typer.Context) -> set[str]:
    """Names of the parameters that the command line names."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def _default_out(photos: list[Path]) -> Path:
    first = photos[0]
    parent = first if first.is_dir() else first.parent
    return parent.resolve().parent / f"{parent.resolve().name}-map"


def _report(folder: MapFolder, result: SfmResult) -> None:
    from recon.report.page import write_report

    title = folder.root.resolve().name
    write_report(folder.report, result.summary, result.models, result.thumbnails, title=title)
