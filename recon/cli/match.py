"""``recon match``: what two photos have in common."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from recon.cli.options import Descriptor, Detector, Json, MaxKeypoints, MaxSize, Ratio
from recon.cli.values import comma_separated

_Out = Annotated[Path, typer.Option("--out", "-o", help="Picture to write: PNG, JPEG …")]
_Npz = Annotated[Path | None, typer.Option("--npz", help="Write keypoints, matches, inliers and the model here.")]
_Compare = Annotated[str, typer.Option(help="Several descriptors, one under the other: sift,l2net,…")]


def match(
    context: typer.Context,
    a: Annotated[Path, typer.Argument(help="A photo.", show_default=False)],
    b: Annotated[Path, typer.Argument(help="Another photo.", show_default=False)],
    out: _Out = Path("matches.png"),
    descriptor: Descriptor = "rootsift",
    detector: Detector = "dog",
    compare: _Compare = "",
    model: Annotated[
        str,
        typer.Option(
            help="H (plane, or a turned camera), F, E (focal length from EXIF, or guessed), or auto: by GRIC."
        ),
    ] = "auto",
    max_keypoints: MaxKeypoints = 8192,
    max_size: MaxSize = 1600,
    ratio: Ratio = None,
    max_error: Annotated[float, typer.Option(help="Largest distance of an inlier, px at 1,600 px.")] = 4.0,
    npz: _Npz = None,
    seed: Annotated[int, typer.Option(help="Same seed, same photos, same options: same result.")] = 0,
    json_output: Json = False,
) -> None:
    """Match two photos: keypoints, matches, inliers of a homography, fundamental or essential matrix, and a picture.

    Exit codes: 0 done, 2 wrong option, 3 unusable photo, 4 the photos have nothing in common (the picture is written
    all the same), 6 cannot write, 130 interrupted.
    """
    from pipelines.core.errors import ConfigError, NoOverlapError
    from pipelines.features.detectors import DetectorConfig
    from pipelines.features.extract import FeatureConfig
    from pipelines.geometry.two_view import VerifyConfig
    from pipelines.images.write import check_suffix, write_picture
    from pipelines.matching.matcher import MatchConfig
    from pipelines.pairwise.match import PairConfig, match_two, plain, read_two, write_npz
    from pipelines.pairwise.picture import draw
    from pipelines.store.files import check_apart, check_file
    from recon.cli.terminal import print_json

    names = comma_separated(compare) or [descriptor]
    given = context.get_parameter_source("descriptor")
    if compare and given is not None and given.name != "DEFAULT":
        why = "--compare names all that are wanted"
        raise ConfigError("--descriptor and --compare do not go together", why, f"--compare {descriptor},{compare}")
    if npz and len(names) > 1:
        raise ConfigError("An NPZ holds one result", f"--compare asks for {len(names)}", "--descriptor for one of them")
    check_suffix(out)
    if npz:
        check_apart(npz, out)
    for path in (out, npz):
        if path:
            check_file(path, (a, b))
    keypoints = DetectorConfig(name=detector, max_keypoints=max_keypoints)
    configs = [
        PairConfig(FeatureConfig(name, keypoints, max_size), MatchConfig(ratio), model, VerifyConfig(max_error), seed)
        for name in names
    ]
    photos = read_two(a, b)
    results = [match_two(photos, config) for config in configs]
    write_picture(out, draw(results))
    if npz:
        write_npz(npz, results[0])
    if json_output:
        print_json([plain(result) for result in results] if compare else plain(results[0]))
    else:
        for result in results:
            print(result.sentence)
        print(f"Picture: {out}", file=sys.stderr)
    if not any(result.overlap for result in results):
        best = max(int(result.inliers.sum()) for result in results)
        raise NoOverlapError(
            f"{a.name} and {b.name} have nothing in common",
            f"{best} matches agree with one model, which is too few, or no more than chance gives",
            "photos with more overlap, a larger --max-size, more --max-keypoints, or --descriptor l2net",
        )
