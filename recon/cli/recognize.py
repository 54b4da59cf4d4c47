"""``recon recognize``: which known objects a photo shows, and where."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

_Scenes = Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.", show_default=False)]
_Objects = Annotated[Path, typer.Option("--objects", help="Folder with one picture per object.", show_default=False)]
_Out = Annotated[Path | None, typer.Option("--out", "-o", help="Annotated picture; of several scenes, a folder.")]
_Cache = Annotated[Path | None, typer.Option("--cache", help="Where the index is kept; default: ~/.cache/recon.")]


def recognize(
    scenes: _Scenes,
    objects: _Objects,
    out: _Out = None,
    cache: _Cache = None,
    descriptor: Annotated[str, typer.Option(help="A name of `recon descriptors`, or your own file.")] = "rootsift",
    detector: Annotated[str, typer.Option(help="dog, hessian-affine, gftt, harris, fast, orb or akaze.")] = "dog",
    max_keypoints: Annotated[int, typer.Option(help="Keypoints kept of a scene.")] = 8192,
    max_size: Annotated[int, typer.Option(help="Longer side at which a scene is looked at, px.")] = 1600,
    compare: Annotated[int, typer.Option(help="Objects a scene is compared with, the likeliest of the index.")] = 50,
    max_error: Annotated[float, typer.Option(help="Largest distance of an inlier, px at 1,600 px.")] = 4.0,
    chance: Annotated[float, typer.Option(help="False finds per scene that are put up with.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="Same seed, same photos, same options: same result.")] = 0,
    json_output: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the finds.")] = False,
) -> None:
    """Find every instance of every object (book covers, boxes, labels, paintings) in photos.

    Each find has its outline, its inliers, and how likely chance would give as good a one. "None found" is an answer.

    Exit codes: 0 done, also if nothing was found; 2 wrong option, 3 unusable photo or folder, 6 cannot write.
    """
    from descriptors.runtime import cache_folder
    from pipelines.features.detectors import DetectorConfig
    from pipelines.features.extract import FeatureConfig
    from pipelines.pairwise.picture import check_suffix, write_picture
    from pipelines.recognize.objects import index_objects
    from pipelines.recognize.picture import draw
    from pipelines.recognize.run import Recogniser, RecognizeConfig, plain, read_scenes
    from pipelines.store.files import make_folder
    from recon.cli.terminal import print_json, progress_for

    features = FeatureConfig(descriptor, DetectorConfig(name=detector, max_keypoints=max_keypoints), max_size)
    config = RecognizeConfig(features, compare=compare, max_error=max_error, chance=chance, seed=seed)
    photos = read_scenes(scenes)
    several = len(photos) > 1
    if out and not several:
        check_suffix(out)
    progress = progress_for(quiet or json_output)
    index = index_objects(
        objects, features, cache or cache_folder() / "objects", compare=compare, seed=seed, progress=progress
    )
    for item in () if quiet else index.rejected:
        print(f"not an object: {item.name}: {item.why}", file=sys.stderr)
    recogniser = Recogniser(index, config)
    results = []
    for number, photo in enumerate(photos, 1):
        result = recogniser(photo, progress=progress)
        results.append(plain(result, len(index)))
        if out:
            picture = make_folder(out) / f"{number:03}-{photo.path.stem}.jpg" if several else out
            write_picture(picture, draw(result))
        if not json_output:
            _tell(result)
    if json_output:
        print_json(results if several else results[0])
    elif out and not quiet:
        print(f"{'Pictures' if several else 'Picture'}: {out}", file=sys.stderr)


def _tell(result) -> None:  # type: ignore[no-untyped-def]
    if not result.finds:
        print(f"{result.scene.name}: none found ({result.keypoints:,} keypoints, {result.compared} objects compared)")
    for find in result.finds:
        corners = "  ".join(f"{x:.0f},{y:.0f}" for x, y in find.instance.corners)
        print(
            f"{result.scene.name}: {find.thing.name}  {len(find.instance)} inliers, "
            f"chance 1e{find.instance.log10_chance:.0f}, corners {corners}"
        )
