"""``recon recognize``: which known objects a photo shows, and where."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recon.cli.options import Descriptor, Detector, Json

if TYPE_CHECKING:
    from pipelines.core.types import Photo

_Scenes = Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.", show_default=False)]
_Objects = Annotated[Path, typer.Option("--objects", help="Folder with one picture per object.", show_default=False)]
_Out = Annotated[Path | None, typer.Option("--out", "-o", help="Picture of the finds; for several scenes, a folder.")]
_Cache = Annotated[Path | None, typer.Option("--cache", help="Where the index is kept; default: ~/.cache/recon.")]


def recognize(
    scenes: _Scenes,
    objects: _Objects,
    out: _Out = None,
    cache: _Cache = None,
    descriptor: Descriptor = "rootsift",
    detector: Detector = "dog",
    max_keypoints: Annotated[int, typer.Option(help="Keypoints kept of a scene.")] = 8192,
    max_size: Annotated[int, typer.Option(help="Longer side at which a scene is looked at, px.")] = 1600,
    compare: Annotated[int, typer.Option(help="Objects a scene is compared with, the likeliest of the index.")] = 50,
    max_error: Annotated[float, typer.Option(help="Largest distance of an inlier, px at 1,600 px.")] = 4.0,
    chance: Annotated[float, typer.Option(help="False finds per scene that are put up with.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="Same seed, same photos, same options: same result.")] = 0,
    json_output: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the finds.")] = False,
) -> None:
    """Find every instance of every object (book covers, boxes, labels, paintings) in photos.

    Each find has its outline, its inliers, and how likely chance would give as good a one. "None found" is an answer.
    Of several scenes or a folder, pictures go into the folder --out, and --json prints a list; of one, --out is the
    picture, or a folder if its name has no suffix. Files that are no photos are named and skipped; in the list they
    stand last, each with why.

    Exit codes: 0 done, also if nothing was found; 2 wrong option, 3 no usable photo or folder, 6 cannot write, 130
    interrupted.
    """
    from descriptors.runtime import cache_folder
    from pipelines.features.detectors import DetectorConfig
    from pipelines.features.extract import FeatureConfig
    from pipelines.images.read import list_photos
    from pipelines.images.write import write_picture
    from pipelines.recognize.objects import index_objects
    from pipelines.recognize.picture import draw
    from pipelines.recognize.run import Recogniser, RecognizeConfig, plain, read_scenes
    from pipelines.store.files import check_file
    from recon.cli.terminal import print_json, progress_for

    features = FeatureConfig(descriptor, DetectorConfig(name=detector, max_keypoints=max_keypoints), max_size)
    config = RecognizeConfig(features, compare=compare, max_error=max_error, chance=chance, seed=seed)
    photos, rejected = read_scenes(scenes)
    several = len(scenes) > 1 or scenes[0].is_dir()
    pictures = _pictures(out, photos, several) if out else []
    read = [photo.path for photo in photos] + list_photos(objects)[0]
    for picture in pictures:
        check_file(picture, read)
    progress = progress_for(quiet or json_output)
    index = index_objects(
        objects, features, cache or cache_folder() / "objects", compare=compare, seed=seed, progress=progress
    )
    for kind, items in (("a scene", rejected), ("an object", index.rejected)):
        for item in items:
            progress.warn(f"not {kind}: {item.name}: {item.why}")
    recogniser = Recogniser(index, config)
    results = []
    for number, photo in enumerate(photos):
        result = recogniser(photo, progress=progress)
        results.append(plain(result, index))
        if out:
            write_picture(pictures[number], draw(result))
        if not json_output:
            _tell(result)
    if json_output:
        results += [{"scene": item.name, "found": [], "why": item.why} for item in rejected]
        print_json(results if several else results[0])
    elif out and not quiet:
        print(f"{'Pictures' if several else 'Picture'}: {out if several else pictures[0]}", file=sys.stderr)


def _pictures(out: Path, photos: Sequence[Photo], several: bool) -> list[Path]:
    """The file of each scene's picture, its folder made.

    Raises:
        ConfigError: one picture of several scenes, or a format that cannot be written.
        OutputError: the folder cannot be written.
    """
    from pipelines.core.errors import ConfigError
    from pipelines.images.write import SUFFIXES, check_suffix
    from pipelines.store.files import make_folder

    if out.suffix and not several and not out.is_dir():
        check_suffix(out)
        return [out]
    if out.suffix.lower() in SUFFIXES and not out.is_dir():
        what = f"The pictures of several scenes cannot be written to {out}"
        raise ConfigError(what, "each has a file of its own", f"a folder, --out {out.with_suffix('')}")
    return [make_folder(out) / f"{number:03}-{photo.path.stem}.jpg" for number, photo in enumerate(photos, 1)]


def _tell(result) -> None:  # type: ignore[no-untyped-def]
    if not result.finds:
        print(f"{result.scene.name}: none found ({result.keypoints:,} keypoints, {result.compared} objects compared)")
    for find in result.finds:
        corners = "  ".join(f"{x:.0f},{y:.0f}" for x, y in find.instance.corners)
        print(
            f"{result.scene.name}: {find.thing.name}  {len(find.instance)} inliers, "
            f"chance 1e{find.instance.log10_chance:.0f}, corners {corners}"
        )
