"""``recon train``: a network of the zoo, trained on photos with tracks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def train(
    name: Annotated[str, typer.Argument(help="Recipe: tfeat or l2net.", show_default=False)],
    data: Annotated[Path, typer.Option(help="Folder with scenes/ and photos/.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Weights file to write; NAME.safetensors here unless given.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Time to train; the recipe's unless given.")] = None,
    steps: Annotated[int | None, typer.Option(help="Fixed number of steps instead of a time.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(help="The same seed and steps give the same weights.")] = 0,
    start: Annotated[Path | None, typer.Option(help="Weights to begin with instead of random ones.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from a checkpoint beside the weights file.")] = True,
) -> None:
    """Train a network on photos with tracks; killed at any moment, the same command goes on where it was."""
    # Read by torch when it loads: threads that wait leave the core to others; large pages halve the time of a step.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

    from descriptors.training.train import Progress
    from descriptors.training.train import train as run

    def report(state: Progress) -> None:
        line = f"{100 * state.done:5.1f} %  step {state.step:>6}  loss {state.loss:7.4f}  "
        line += f"{state.pairs_per_second:5.0f} pairs/s"
        if state.figures:
            line += f"  validation: matching {state.figures.matching:.3f}, FPR95 {100 * state.figures.fpr95:.2f} %"
        typer.echo(line, err=True)

    target = out or Path(f"{name}.safetensors")
    figures = run(
        name, data, target, minutes=minutes, steps=steps, device=device, seed=seed, start=start, resume=resume,
        progress=report,
    )  # fmt: skip
    typer.echo(
        f"{target}: matching {figures.matching:.3f}, rank 1 {figures.rank1:.3f}, FPR95 {100 * figures.fpr95:.2f} % "
        "on the validation scenes"
    )
