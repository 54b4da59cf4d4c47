"""``recon train``: a network of the zoo, trained on photos with tracks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recon.cli.values import comma_separated

if TYPE_CHECKING:
    from descriptors.training.curve import FoundFigures
    from descriptors.training.curve import Progress as TrainingProgress


def train(
    name: Annotated[
        str,
        typer.Argument(
            help="A network of the zoo, as swift, hardnet, l2net or tfeat-margin; or all.", show_default=False
        ),
    ],
    data: Annotated[
        list[str],
        typer.Option(
            help="Folder with scenes/ and photos/, map:DIR (a map of recon sfm) or brown:DIR; repeatable.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Weights file to write, NAME.safetensors here unless given; with all, a folder, zoo."),
    ] = None,
    names: Annotated[str, typer.Option(help="With all: only these, as a,b,c.")] = "",
    minutes: Annotated[
        float | None,
        typer.Option(help="Time to train; the recipe's unless given. With all: of all together, 25 on a GPU."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Fixed number of steps instead of a time.")] = None,
    pairs: Annotated[
        int | None,
        typer.Option(help="Pairs of a batch, as many as a step of half a second takes; the recipe's unless given."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Highest learning rate; the recipe's unless given. Lower, if it collapses.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    jobs: Annotated[
        int | None,
        typer.Option(help="With all: trainings at once, each in its process; 1 unless given, 6 on a GPU."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed and steps give the same weights.")] = 0,
    start: Annotated[
        str | None, typer.Option("--init", "--start", help="Begin with these weights: a name of the zoo, or a file.")
    ] = None,
    keep: Annotated[
        float,
        typer.Option(help="With --init: share of its weights in the result, mixed with the trained ones."),
    ] = 0.0,
    teacher: Annotated[
        str | None,
        typer.Option(help="Learn from these weights too: a name of the zoo, or a file, of the same patches."),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on where a training was killed; without, train anew.")] = True,
) -> None:
    """Train a network on photos with tracks; killed at any moment, the same command goes on where it was.

    With --init and --data map:DIR weights are fitted to one's own scene. A fifth of the map's photos, the last by name,
    are held out: the figures are theirs, before the training and after it.

    recon train all trains the whole zoo in one go, teachers first; what is finished is kept. Beside the weights stand a
    card, the log and the curve of each training.
    """
    # Read by torch when it loads: threads that wait leave the core to others; large pages halve the time of a step.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

    from pipelines.core.config import check_seed

    check_seed(seed)
    for source in data:
        _make_tracks(source)
    held_out = "held-out photos of the map" if any(source.startswith("map:") for source in data) else _VALIDATION
    if name == "all":
        for option, given in (("--init", start), ("--teacher", teacher), ("--keep", keep or None), ("--rate", rate)):
            if given is not None:
                raise typer.BadParameter("the zoo's recipes say this themselves", param_hint=option)
        _train_all(data, out or Path("zoo"), names, minutes, steps, pairs, device, seed, resume, jobs, held_out)
        return
    for option, given_ in (("--names", bool(names)), ("--jobs", jobs is not None)):
        if given_:
            raise typer.BadParameter("it is for recon train all", param_hint=option)
    from pipelines.store.files import write_errors

    run, held_out = _trainer(name, pairs, rate, teacher, held_out)
    target = out or Path(f"{name}.safetensors")
    with _Reports() as reports, write_errors(target):
        figures = run(
            name, data, target, minutes=minutes, steps=steps, device=device, seed=seed, start=_weights(start),
            keep=keep, resume=resume, progress=lambda state: reports.show(name, state),
        )  # fmt: skip
    typer.echo(f"{target}: {figures.said()} on {held_out}")


_VALIDATION = "the validation scenes"


def _trainer(
    name: str, pairs: int | None, rate: float | None, teacher: str | None, held_out: str
) -> tuple[Callable[..., FoundFigures], str]:
    """What trains a network, and what its figures are of: keypoints' patches, or every pixel of made stereo pairs."""
    from descriptors.training.stereo import STEREO_RECIPES, train_stereo

    if name in STEREO_RECIPES:
        if teacher is not None:
            raise typer.BadParameter("a stereo network learns from none", param_hint="--teacher")
        return partial(train_stereo, pairs=pairs, rate=rate), "made pairs of held-out photos"
    from descriptors.training.train import train

    return partial(train, pairs=pairs, rate=rate, teacher=teacher), held_out


def _train_all(
    data: list[str], folder: Path, names: str, minutes: float | None, steps: int | None, pairs: int | None,
    device: str, seed: int, resume: bool, jobs: int | None, held_out: str,
) -> None:  # fmt: skip
    from descriptors.training.zoo import train_zoo
    from pipelines.store.files import write_errors

    chosen = comma_separated(names)
    if names and not chosen:
        raise typer.BadParameter("it names no network; give a,b,c", param_hint="--names")
    failed = 0
    with _Reports() as reports, write_errors(folder):
        for outcome in train_zoo(
            data, folder, names=chosen, minutes=minutes, steps=steps, pairs=pairs, device=device, seed=seed,
            resume=resume, jobs=jobs, progress=reports.show,
        ):  # fmt: skip
            if outcome.error:
                failed += 1
                reports.say(f"{outcome.name}: not trained. {outcome.error}")
            elif outcome.figures:
                reports.say(f"{outcome.name}: {outcome.figures.said()} on {held_out}")
            else:
                reports.say(f"{outcome.name}: there already")
    if failed:
        raise typer.Exit(1)


class _Reports:
    """A bar with the time left for each training on a terminal, a line each report elsewhere."""

    def __enter__(self) -> _Reports:
        self._bars: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

            columns = (TextColumn("{task.description:<18}"), BarColumn(bar_width=24), TaskProgressColumn(),
                       TextColumn("{task.fields[note]}", markup=False))  # fmt: skip
            self._bars = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bars.start()
            self._tasks = {"loading": self._bars.add_task("loading", total=1.0, note="")}
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def say(self, text: str) -> None:
        """Keep a line."""
        typer.echo(text, err=True)

    def show(self, name: str, state: TrainingProgress) -> None:
        """One report of a training."""
        if state.step == 0 and state.figures:
            self.say(f"{name} before: {state.figures.said()}")
            return
        note = f"step {state.step}  loss {state.loss:.4f}  {state.pairs_per_second:.0f} pairs/s  "
        note += f"{_duration(state.seconds_left)} left"
        if self._bars is not None:
            self._show_bar(name, state.done, note)
        if self._bars is None or state.figures:
            judged = f"  {state.figures.said()}" if state.figures else ""
            self.say(f"{name} {100 * state.done:5.1f} %  {note}{judged}")

    def _show_bar(self, name: str, done: float, note: str) -> None:
        if "loading" in self._tasks:
            self._bars.remove_task(self._tasks.pop("loading"))
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=1.0, note="")
        self._bars.update(self._tasks[name], completed=done, note=note)
        if done >= 1:
            self._bars.remove_task(self._tasks.pop(name))


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{max(seconds, 0):.0f} s"


def _weights(start: str | None) -> Path | None:
    """The weights file that a name or path stands for."""
    if start is None or Path(start).is_file():
        return Path(start) if start else None
    from descriptors.contract import DescriptorError
    from descriptors.registry import any_spec
    from descriptors.runtime import WEIGHTS

    weights = any_spec(start).weights
    if weights is None or not (WEIGHTS / weights).is_file():
        raise DescriptorError(f"{start} has no weights to begin with.")
    return WEIGHTS / weights


def _make_tracks(source: str) -> None:
    """Photos and tracks of a map of recon sfm, if they have not been made yet."""
    folder = Path(source.removeprefix("map:"))
    if source.startswith("map:") and not (folder / "tracks.npz").is_file():
        from pipelines.export import make_training
        from recon.cli.terminal import progress_for

        make_training(folder, progress=progress_for(quiet=False))
