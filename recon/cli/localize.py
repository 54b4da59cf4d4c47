"""``recon localize``: where a photo was taken, in a map."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recon.cli.options import Intrinsics, Json

if TYPE_CHECKING:
    from pipelines.localize.matching import Near
    from pipelines.localize.result import Localisation, QueryPose

_Queries = Annotated[list[Path], typer.Argument(help="Photos, videos, or folders of photos.", show_default=False)]


def localize(
    queries: _Queries,
    map_folder: Annotated[Path, typer.Option("--map", "-m", help="A map made by `recon sfm`.", show_default=False)],
    intrinsics: Intrinsics = "",
    camera_model: Annotated[
        str, typer.Option(help="COLMAP camera model of cameras that the map does not know; default: SIMPLE_RADIAL.")
    ] = "",
    photos: Annotated[int, typer.Option(help="Photos of the map, the most similar, to match with.")] = 10,
    max_error: Annotated[float, typer.Option(help="Largest error of an inlier, px at 1,600 px.")] = 4.0,
    guided: Annotated[
        bool, typer.Option(help="Look for more points of the map where the pose says they are seen.")
    ] = True,
    near: Annotated[
        str, typer.Option(help="X,Y,Z,RADIUS in the map's units: it was taken at most so far from there.")
    ] = "",
    every: Annotated[int, typer.Option(min=1, help="Of a video, each so-maniest frame.")] = 10,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for poses.json and overlay pictures.")] = None,
    json_output: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print one line per query and nothing else.")] = False,
) -> None:
    """Where was this photo taken? The pose of new photos in a map, how sure it is, or why there is none.

    Intrinsics: those given; else those of the map's photos of the same camera; else EXIF's focal length, refined; else
    the focal length is estimated with the pose, and the result says so, unless a camera of the map explains the photo
    as well. Where it is refined or estimated, so are principal point and radial distortion, as far as the photo tells.
    Sigmas are in the units of the map (metres after `recon map align`); they hold for the pose in the map as it is,
    what its cameras are off is not in them.

    Exit codes: 0 at least one query has a pose, 2 wrong option or another descriptor than the map's, 3 no map, or no
    query could be read, 6 a picture or poses.json cannot be written (the answers are printed all the same), 8 no query
    was found, 130 interrupted.
    """
    from pipelines.core.errors import NotFoundError
    from pipelines.images.cameras import CameraConfig
    from pipelines.images.intrinsics import parse_intrinsics
    from pipelines.localize.query import LocalizeConfig
    from pipelines.localize.run import as_plain, run_localize
    from recon.cli.terminal import print_json, progress_for

    cameras = CameraConfig(camera_model, parse_intrinsics(intrinsics) if intrinsics else None)
    config = LocalizeConfig(cameras, photos, max_error, guided, near=_near(near) if near else None)
    progress = progress_for(quiet or json_output)
    result = run_localize(queries, map_folder, config, out=out, every=every, progress=progress)
    if json_output:
        print_json(as_plain(map_folder, result.answers))
    else:
        for answer in result.answers:
            rest = _pose_lines(answer.pose) if answer.pose is not None else []
            print(_first_line(answer) + "".join(f" {line}." if quiet else f"\n  {line}" for line in rest))
        if out is not None and result.failure is None and not quiet:
            print(f"Overlays and poses.json: {out}", file=sys.stderr)
    if result.failure is not None:
        raise result.failure
    answers = result.answers
    if all(answer.pose is None for answer in answers):
        why = f"{answers[0].name}: {answers[0].reason}" if len(answers) == 1 else f"none of {len(answers)} queries"
        raise NotFoundError(f"Nothing was found in the map {map_folder}", why, answers[0].try_)


def _near(text: str) -> Near:
    from pipelines.core.errors import ConfigError
    from pipelines.localize.matching import Near

    try:
        x, y, z, radius = (float(word) for word in text.split(","))
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is no place", "it is four numbers with commas between", "--near X,Y,Z,RADIUS"
        ) from error
    return Near((x, y, z), radius)


def _first_line(answer: Localisation) -> str:
    return f"{answer.name}: {answer.verdict}, {answer.reason}." + (f" Try: {answer.try_}." if answer.try_ else "")


def _pose_lines(pose: QueryPose) -> list[str]:
    centre = ", ".join(f"{value:.4f}" for value in pose.centre)
    quaternion = ", ".join(f"{value:.5f}" for value in pose.quaternion)
    unit = " m" if pose.metric else ""
    lines = [f"centre ({centre}) ± {pose.centre_sigma:.2g}{unit}, quaternion wxyz ({quaternion}) in {pose.component}"]
    if pose.place is not None:
        latitude, longitude, altitude = pose.place
        lines.append(f"latitude {latitude:.7f}°, longitude {longitude:.7f}°, altitude {altitude:.1f} m")
    origin = "focal length estimated" if pose.origin == "estimated" else f"intrinsics from {pose.origin}"
    return [*lines, f"{origin}: {pose.camera.model} {', '.join(f'{value:.6g}' for value in pose.camera.params)}"]
