"""``recon train``: a network of the zoo, trained on photos with tracks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from descriptors.training.validate import Figures


def train(
    name: Annotated[
        str,
        typer.Argument(
            help="Recipe: a network of the zoo, as swift, hardnet, l2net or tfeat-margin.", show_default=False
        ),
    ],
    data: Annotated[
        list[str],
        typer.Option(
            help="Folder with scenes/ and photos/, or map:DIR, a map of recon sfm; repeatable.", show_default=False
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Weights file to write; NAME.safetensors here unless given.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Time to train; the recipe's unless given.")] = None,
    steps: Annotated[int | None, typer.Option(help="Fixed number of steps instead of a time.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(help="The same seed and steps give the same weights.")] = 0,
    start: Annotated[
        str | None, typer.Option("--init", "--start", help="Begin with these weights: a name of the zoo, or a file.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on from a checkpoint beside the weights file.")] = True,
) -> None:
    """Train a network on photos with tracks; killed at any moment, the same command goes on where it was.

    With --init and --data map:DIR weights are fitted to one's own scene. A fifth of the map's photos, the last by name,
    are held out: the figures are theirs, before the training and after it.
    """
    # Read by torch when it loads: threads that wait leave the core to others; large pages halve the time of a step.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

    from descriptors.training.train import Progress
    from descriptors.training.train import train as run

    def report(state: Progress) -> None:
        if state.step == 0 and state.figures:
            typer.echo(f"before: {_said(state.figures)}", err=True)
            return
        line = f"{100 * state.done:5.1f} %  step {state.step:>6}  loss {state.loss:7.4f}  "
        line += f"{state.pairs_per_second:5.0f} pairs/s"
        if state.figures:
            line += f"  validation: matching {state.figures.matching:.3f}, FPR95 {100 * state.figures.fpr95:.2f} %"
        typer.echo(line, err=True)

    for source in data:
        _make_tracks(source)
    target = out or Path(f"{name}.safetensors")
    figures = run(
        name, data, target, minutes=minutes, steps=steps, device=device, seed=seed, start=_weights(start),
        resume=resume, progress=report,
    )  # fmt: skip
    held_out = any(source.startswith("map:") for source in data)
    typer.echo(f"{target}: {_said(figures)} on {'held-out photos of the map' if held_out else 'the validation scenes'}")


def _said(figures: Figures) -> str:
    return f"matching {figures.matching:.3f}, rank 1 {figures.rank1:.3f}, FPR95 {100 * figures.fpr95:.2f} %"


def _weights(start: str | None) -> Path | None:
    """The weights file that a name or path stands for."""
    if start is None or Path(start).is_file():
        return Path(start) if start else None
    from descriptors.contract import DescriptorError
    from descriptors.registry import scorer_names, scorer_spec, spec
    from descriptors.runtime import WEIGHTS

    weights = (scorer_spec(start) if start in scorer_names() else spec(start)).weights
    if weights is None or not (WEIGHTS / weights).is_file():
        raise DescriptorError(f"{start} has no weights to begin with.")
    return WEIGHTS / weights


def _make_tracks(source: str) -> None:
    """Photos and tracks of a map of recon sfm, if they have not been made yet."""
    folder = Path(source.removeprefix("map:"))
    made = any((place / "tracks.npz").is_file() for place in (folder, folder / "export" / "training"))
    if source.startswith("map:") and not made:
        from pipelines.export import export_training
        from recon.cli.terminal import progress_for

        export_training(folder, progress=progress_for(quiet=False))
