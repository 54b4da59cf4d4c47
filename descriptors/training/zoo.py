"""The whole zoo in one training: every network after the other, in the order of worth, within one budget of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from descriptors import runtime
from descriptors.contract import DescriptorError
from descriptors.datasets.sources import Given
from descriptors.training.curve import Progress
from descriptors.training.distill import Distilled
from descriptors.training.jobs import side_by_side
from descriptors.training.machine import device_named
from descriptors.training.recipes import RECIPES, Recipe, recipe
from descriptors.training.run import Length, finished
from descriptors.training.train import train
from descriptors.training.validate import Figures

GPU_MINUTES = 25.0
"""Budget of the whole zoo on a GPU unless told otherwise. On a CPU each network takes its recipe's minutes."""
GPU_JOBS = 6
"""Trainings at once on a GPU unless told otherwise: one alone waits most of the time for Python to name its kernels."""
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
    jobs: int | None = None,
    progress: Callable[[str, Progress], None] | None = None,
) -> Iterator[Outcome]:
    """Train networks into ``folder``, one NAME.safetensors each, and tell of each when it is done.

    Weights that are there already are kept, a training that was killed goes on: the same call again finishes the rest.

    Args:
        data: as of :func:`descriptors.training.train.train`.
        folder: where weights, cards, logs and curves go.
        names: recipes to train, all unless given; begun in the order of the table, teachers before students.
        minutes: budget of all together, shared out by the recipes' own times, whatever is there already.
        steps: fixed number of steps for each instead.
        pairs, device, seed, resume: as of ``train``.
        jobs: trainings at once, in processes of their own; one on a CPU and :data:`GPU_JOBS` on a GPU unless given.
        progress: called with the name of the network that is trained.

    Raises:
        DescriptorError: there is no such recipe, or no such device, or a length, a batch or a number of jobs is none,
            or a process was killed.
    """
    wanted = _in_order(names)
    on_gpu = device_named(device).type == "cuda"
    at_once = jobs if jobs is not None else GPU_JOBS if on_gpu else 1
    if at_once < 1:
        raise DescriptorError(f"{at_once} trainings at once are none. Give --jobs 1 or more.")
    budget = GPU_MINUTES if minutes is None and on_gpu else minutes
    Length(1.0 if budget is None else budget, steps)
    for name in wanted:
        RECIPES[name].on(device, pairs)
    at_once = min(at_once, len(wanted))
    shares = minutes_of(wanted, budget, at_once)
    trainings = [
        Training(name, RECIPES[name], data, folder, shares[name], steps, pairs, device, seed, resume, sharing=at_once)
        for name in wanted
    ]
    tell = progress or _nothing
    if at_once == 1:
        yield from (training.run(tell) for training in trainings)
    else:
        yield from side_by_side(trainings, at_once, tell)


@dataclass(frozen=True)
class Training:
    """The training of one network of several: what :func:`train_zoo` is given, and this network's time.

    Attributes:
        sharing: trainings at once on the machine.
    """

    name: str
    plan: Recipe
    data: Given
    folder: Path
    minutes: float
    steps: int | None
    pairs: int | None
    device: str
    seed: int
    resume: bool
    sharing: int

    @property
    def after(self) -> frozenset[str]:
        """Names of the networks that this one begins with or learns from."""
        return _before(self.plan)

    def run(self, tell: Callable[[str, Progress], None]) -> Outcome:
        """Train it, unless its weights are there already."""
        out = self.folder / f"{self.name}.safetensors"
        if finished(out):
            return Outcome(self.name)
        plan = resolved(self.plan, self.folder)
        try:
            figures = train(
                plan,
                self.data,
                out,
                minutes=self.minutes,
                steps=self.steps,
                pairs=self.pairs,
                device=self.device,
                seed=self.seed,
                start=weights_of(plan.start, self.folder) if plan.start else None,
                resume=self.resume,
                sharing=self.sharing,
                progress=partial(tell, self.name),
            )
        except (DescriptorError, RuntimeError) as error:  # of torch, of its compiler and of the GPU: the others go on
            return Outcome(self.name, error=str(error))
        return Outcome(self.name, figures)


def minutes_of(names: Sequence[str], budget: float | None, at_once: int = 1) -> dict[str, float]:
    """Minutes of each network: of a budget for all together its share by the recipe's time, or the recipe's time.

    With several ``at_once`` shares are as many times longer, as far as a network and those before it still fit.
    """
    own = {name: RECIPES[name].minutes for name in names}
    if budget is None:
        return own
    whole = max(sum(own.values()) / at_once, *(_chain(name, own) for name in names))
    factor = budget * (1 - _BESIDE_STEPS) / whole
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


def _before(plan: Recipe) -> frozenset[str]:
    """Names of recipes whose weights a training begins with or learns from."""
    teacher = plan.loss.teacher if isinstance(plan.loss, Distilled) else ""
    return frozenset(filter(None, (plan.start, teacher)))


def _chain(name: str, minutes: dict[str, float]) -> float:
    """Minutes of a network and of those that must be trained before it."""
    before = [_chain(other, minutes) for other in _before(RECIPES[name]) if other in minutes]
    return minutes[name] + max(before, default=0.0)


def _nothing(_name: str, _state: Progress) -> None:
    """Tell nobody."""
