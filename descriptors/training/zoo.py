"""The whole zoo in one training: every network after the other, in the order of worth, within one budget of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from descriptors import runtime
from descriptors.contract import DescriptorError
from descriptors.datasets.sources import Given
from descriptors.training.curve import Progress
from descriptors.training.distill import Distilled
from descriptors.training.machine import device_named
from descriptors.training.recipes import RECIPES, Recipe, recipe
from descriptors.training.run import Length
from descriptors.training.train import train
from descriptors.training.validate import Figures

GPU_MINUTES = 25.0
"""Budget of the whole zoo on a GPU unless told otherwise. On a CPU each network takes its recipe's minutes."""
# Of a budget, what is left for reading photos, building pyramids and validation.
_BESIDE_STEPS = 0.15


@dataclass(frozen=True)
class Outcome:
    """What became of one network.

    Attributes:
        name: of the recipe.
        figures: of its weights; None if they were there already, or the training could not be done.
        error: why it could not be done.
    """

    name: str
    figures: Figures | None = None
    error: str = ""


def train_zoo(
    data: Given,
    folder: Path,
    *,
    names: Sequence[str] = (),
    minutes: float | None = None,
    steps: int | None = None,
    pairs: int | None = None,
    device: str = "cpu",
    seed: int = 0,
    resume: bool = True,
    progress: Callable[[str, Progress], None] | None = None,
) -> Iterator[Outcome]:
    """Train networks into ``folder``, one NAME.safetensors each, and tell of each when it is done.

    Weights that are there already are kept, a training that was killed goes on: the same call again finishes the rest.

    Args:
        data: as of :func:`descriptors.training.train.train`.
        folder: where weights, cards, logs and curves go.
        names: recipes to train, all unless given; trained in the order of the table, teachers before students.
        minutes: budget of all together, shared out by the recipes' own times, whatever is there already.
        steps: fixed number of steps for each instead.
        pairs, device, seed, resume: as of ``train``.
        progress: called with the name of the network that is trained.

    Raises:
        DescriptorError: there is no such recipe, or no such device, or a length or a batch is none.
    """
    wanted = _in_order(names)
    on_gpu = device_named(device).type == "cuda"
    budget = GPU_MINUTES if minutes is None and on_gpu else minutes
    Length(1.0 if budget is None else budget, steps)
    for name in wanted:
        RECIPES[name].on(device, pairs)
    shares = minutes_of(wanted, budget)
    for name in wanted:
        out = folder / f"{name}.safetensors"
        if finished(out):
            yield Outcome(name)
            continue
        plan = resolved(RECIPES[name], folder)
        start = weights_of(plan.start, folder) if plan.start else None
        told = None if progress is None else _named(progress, name)
        try:
            figures = train(
                plan,
                data,
                out,
                minutes=shares[name],
                steps=steps,
                pairs=pairs,
                device=device,
                seed=seed,
                start=start,
                resume=resume,
                progress=told,
            )
        except DescriptorError as error:
            yield Outcome(name, error=str(error))
        else:
            yield Outcome(name, figures)


def finished(weights: Path) -> bool:
    """Whether weights are those of a training that has ended: a checkpoint beside them says that it has not."""
    return weights.is_file() and not weights.with_suffix(".checkpoint").exists()


def minutes_of(names: Sequence[str], budget: float | None) -> dict[str, float]:
    """Minutes of each network: of a budget for all together its share by the recipe's time, or the recipe's time."""
    own = {name: RECIPES[name].minutes for name in names}
    if budget is None:
        return own
    factor = budget * (1 - _BESIDE_STEPS) / sum(own.values())
    return {name: factor * time for name, time in own.items()}


def resolved(plan: Recipe, folder: Path) -> Recipe:
    """The recipe with a teacher from ``folder``, if it has one that has been trained there."""
    if not isinstance(plan.loss, Distilled):
        return plan
    teacher = folder / f"{plan.loss.teacher}.safetensors"
    return replace(plan, loss=replace(plan.loss, teacher=str(teacher))) if finished(teacher) else plan


def weights_of(name: str, folder: Path) -> Path | None:
    """Weights to begin with: those trained in ``folder``, else the package's, else none."""
    places = folder / f"{name}.safetensors", runtime.WEIGHTS / f"{name}.safetensors"
    return next((place for place in places if finished(place)), None)


def _in_order(names: Sequence[str]) -> list[str]:
    for name in names:
        recipe(name)  # an unknown one is told with the nearest known
    return [name for name in RECIPES if not names or name in names]


def _named(progress: Callable[[str, Progress], None], name: str) -> Callable[[Progress], None]:
    return lambda state: progress(name, state)
