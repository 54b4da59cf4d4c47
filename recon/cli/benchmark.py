"""``recon benchmark …``: recon and its peers, and all descriptors, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from recon.cli.options import Seed
from recon.cli.values import comma_separated

_DataSets = Annotated[list[Path], typer.Argument(help="Data sets: folders with images/ and, if known, ground truth.")]
_Descriptors = Annotated[str, typer.Option(help="Comma-separated names; see `recon descriptors`.")]
_MaxSize = Annotated[int, typer.Option(help="Longer side at which features are found, px.")]
_MaxKeypoints = Annotated[int, typer.Option(help="Features per photo.")]
_Json = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Measure recon side by side with its peers.")


@app.callback()
def _group() -> None:
    """Measure recon side by side with its peers."""


def _named(text: str) -> list[str]:
    """The descriptors and metric networks of a comma-separated list.

    Raises:
        DescriptorError: there is none of such a name.
    """
    import descriptors

    names = comma_separated(text)
    for name in names:
        descriptors.spec(descriptors.shortlist(name))
    return names


def _tell(
    results: Any, table: tuple[Sequence[str], Sequence[Sequence[str]]], json_output: bool, notes: Sequence[str] = ()
) -> None:
    """Print the results: as JSON, or their table and the notes below it."""
    from recon.cli.terminal import print_columns, print_json

    if json_output:
        print_json(results)
        return
    print_columns(*table)
    for note in notes:
        print(note)


@app.command("sfm")
def sfm(
    data: _DataSets,
    descriptors: _Descriptors = "rootsift",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for maps and results.")] = Path("benchmark-sfm"),
    max_size: _MaxSize = 1600,
    max_keypoints: _MaxKeypoints = 8192,
    fix_intrinsics: Annotated[
        bool, typer.Option("--fix-intrinsics", help="Give the ground truth's intrinsics and keep them.")
    ] = False,
    camera_model: Annotated[
        str, typer.Option(help="COLMAP camera model of all; default: pycolmap's own, and the lens that recon finds.")
    ] = "",
    seed: Seed = 0,
    json_output: _Json = False,
) -> None:
    """pycolmap's own SIFT pipeline and ours on the same photos, one process after the other.

    Prints photos registered, points, track length, reprojection error, errors of camera centres and rotations
    where the truth is known, wall time, its ratio to the peer's, and peak memory; leaves sfm.json and sfm.html.
    """
    from recon.benchmark.sfm import Setting, run_benchmark, table, write_results
    from recon.benchmark.sfm_page import write_page
    from recon.cli.terminal import progress_for

    names = _named(descriptors)
    setting = Setting(max_size, max_keypoints, seed, fix_intrinsics, camera_model)
    rows = run_benchmark(data, names, out, setting, progress=progress_for(json_output))
    results = write_results(rows, out, setting)
    write_page(out / "sfm.html", rows, setting)
    _tell(results, table(rows), json_output, [f"Plots: {out / 'sfm.html'}"])


@app.command("stitch")
def stitch(
    data: Annotated[list[Path], typer.Argument(help="Folders of photos, or folders of such folders.")],
    descriptors: _Descriptors = "rootsift",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for panoramas and results.")] = Path(
        "benchmark-stitch"
    ),
    max_size: Annotated[int, typer.Option(help="Longer side at which photos are registered, px.")] = 800,
    seed: Seed = 0,
    json_output: _Json = False,
) -> None:
    """OpenCV's Stitcher and ours on the same photos, at the same resolution, one process after the other.

    Prints photos used, residuals of checkpoints that none has seen, errors of rotations and focal lengths where the
    truth is known, wall and processor time, their ratios, and peak memory; leaves stitch.json and stitch.html.
    """
    from recon.benchmark.stitch import Setting, run_benchmark, table, write_results
    from recon.benchmark.stitch_page import write_page
    from recon.cli.terminal import progress_for

    names = _named(descriptors)
    setting = Setting(max_size, seed)
    rows = run_benchmark(data, names, out, setting, progress=progress_for(json_output))
    results = write_results(rows, out, setting)
    write_page(out / "stitch.html", rows, setting)
    _tell(results, table(rows), json_output, [f"Panoramas: {out / 'stitch.html'}"])


@app.command("localize")
def localize(
    data: _DataSets,
    descriptors: _Descriptors = "rootsift",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for maps and results.")] = Path("benchmark-localize"),
    others: Annotated[
        Path | None, typer.Option(help="Folder of photos of other places, none of which may be found.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Photos of other places looked for in each map.")] = 200,
    max_size: _MaxSize = 1600,
    max_keypoints: _MaxKeypoints = 8192,
    seed: Seed = 0,
    json_output: _Json = False,
) -> None:
    """Each photo of a set looked for in a map of the others: with its intrinsics, without them, and by a plain peer.

    Prints photos found, recall at several limits, median and largest error, time per query, and how many photos of
    other places were taken for this one; leaves localize.json and localize.html. Maps that are there are used again.
    """
    from pipelines.store.files import make_folder
    from recon.benchmark.localize import Setting, note, run_benchmark, table, write_results
    from recon.benchmark.localize_page import write_page
    from recon.cli.terminal import progress_for

    names = _named(descriptors)
    setting = Setting(max_size, max_keypoints, seed, count)
    groups = run_benchmark(data, names, make_folder(out), setting, others=others, progress=progress_for(json_output))
    results = write_results(groups, out, setting)
    write_page(out / "localize.html", groups, setting)
    _tell(results, table(groups), json_output, [f"{note()}.", f"Plots: {out / 'localize.html'}"])


@app.command("stereo")
def stereo(
    data: Annotated[list[Path], typer.Argument(help="Folders of rectified pairs with truth, as Middlebury's.")],
    costs: Annotated[
        str, typer.Option(help="Comma-separated: sgbm, sgbm+wls, census, or names of `recon descriptors`.")
    ] = "sgbm,sgbm+wls,census,swift-stereo",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for maps and results.")] = Path("benchmark-stereo"),
    json_output: _Json = False,
) -> None:
    """Matching costs in recon's engine, and OpenCV's SGBM with and without its filter, on the same rectified pairs.

    Prints bad-0.5/1/2/4 over all pixels with truth, average error, density, time and peak memory; leaves stereo.json,
    stereo.csv and stereo.html with pictures.
    """
    from pipelines.store.files import make_folder
    from recon.benchmark.stereo import run_benchmark, table, write_results
    from recon.benchmark.stereo_page import write_page
    from recon.cli.terminal import progress_for

    names = comma_separated(costs)
    result = run_benchmark(data, names, make_folder(out), progress=progress_for(json_output))
    results = write_results(result, out)
    write_page(out / "stereo.html", result)
    _tell(results, table(result), json_output, [f"Pictures: {out / 'stereo.html'}"])


@app.command("dense")
def dense(
    maps: Annotated[list[Path], typer.Argument(metavar="MAP...", help="Maps in which `recon dense` has made a mesh.")],
    truth: Annotated[
        list[Path] | None,
        typer.Option(help="Data set with the true cameras, for metres; once for each map, in their order."),
    ] = None,
    component: Annotated[int, typer.Option(help="Which model of the maps; 0 is the largest.")] = 0,
    json_output: _Json = False,
) -> None:
    """How well a mesh agrees with its map's points, of which it was not made, and with exact depth where it is known.

    Prints the median distance of the map's points from the mesh and the share within 3 cm (both in metres only with
    --truth), the share that the mesh reaches, the median difference in depth, and the time and memory of that run.
    Where the truth has exact depth, as sample_data/sfm: errors of the depth maps, shares of what is right, sky that has
    a depth or a mesh.
    """
    from pipelines.core.errors import ConfigError
    from recon.benchmark.dense import exact_table, measured, results, table
    from recon.cli.terminal import print_columns

    known: list[Path | None] = [*(truth or [])] or [None] * len(maps)
    if len(known) != len(maps):
        raise ConfigError(
            f"--truth was given {len(known)} times for {len(maps)} maps", "each map needs its own", "--truth once a map"
        )
    rows = [measured(place, own, component) for place, own in zip(maps, known, strict=True)]
    _tell(results(rows), table(rows), json_output)
    if any(row.exact for row in rows) and not json_output:
        print("\nAgainst the exact depth:")
        print_columns(*exact_table(rows))


_BOARDS = {
    "oxford": "Oxford affine sequences: mAP, matching score, MMA, homographies, inliers.",
    "sequences": "HPatches sequences, or any photos with homographies: the same figures.",
    "scenes": "Patch pairs of the validation scenes: FPR95, ROC, mAP of the second-nearest ratio.",
    "brown": "UBC PhotoTour patches (archives below DIR/brown): the same figures.",
    "hpatches": "HPatches patches (DIR/hpatches-release): verification, matching, retrieval.",
    "speed": "Patches and distances a second on this machine, parameters, bytes, memory.",
    "all": "Every board whose data is there.",
}


def _board_command(board: str) -> Callable[..., None]:
    def command(
        descriptors: Annotated[
            str,
            typer.Option(help="Comma-separated: NAME, NAME=FILE (.onnx, .pt, .safetensors, .py); default: all."),
        ] = "",
        data: Annotated[Path, typer.Option("--data", "-d", help="Folder that holds the data sets.")] = Path("data"),
        out: Annotated[Path, typer.Option("--out", "-o", help="Folder for predictions and results.")] = Path(
            "benchmark"
        ),
        detector: Annotated[
            str, typer.Option(help="For sequences: a detector of recon; OpenCV's strongest DoG if not given.")
        ] = "",
        keypoints: Annotated[int, typer.Option(min=1, help="For sequences: keypoints a photo.")] = 1500,
        splits: Annotated[str, typer.Option(help="For hpatches: comma-separated, of a b c illum view full.")] = "",
        magnification: Annotated[
            float, typer.Option(min=0.0, help="Of descriptors from files: half a patch in sigma; 0 for 7.5.")
        ] = 0.0,
        patch_size: Annotated[
            int, typer.Option(min=4, help="Of descriptors from files that do not say it: side in pixels.")
        ] = 32,
        json_output: _Json = False,
    ) -> None:
        from descriptors.benchmarks.contestants import Foreign, read_contestants, ready
        from pipelines.store.files import make_folder
        from recon.benchmark.boards import BOARDS, Request, run_boards
        from recon.benchmark.boards_page import write_page
        from recon.benchmark.tables import table, write_files
        from recon.cli.terminal import print_columns, print_json, progress_for

        chosen = comma_separated(descriptors) or ready()
        contestants = read_contestants(chosen, Foreign(magnification or None, patch_size))
        wanted = tuple(comma_separated(splits))
        request = Request(data, make_folder(out), detector or None, keypoints, wanted)
        progress = progress_for(json_output)
        boards = run_boards(list(BOARDS) if board == "all" else [board], request, contestants, progress=progress)
        results = write_files(boards, contestants, out)
        write_page(out / "board.html", boards)
        if json_output:
            print_json({**results, "warnings": progress.warnings})
            return
        for made in boards:
            print(f"\n{made.name}: {made.protocol}")
            print_columns(*table(made))
        print(f"\nPlots: {out / 'board.html'}")

    return command


for _name, _summary in _BOARDS.items():
    app.command(_name, help=_summary)(_board_command(_name))
