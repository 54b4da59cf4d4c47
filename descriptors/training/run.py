"""What all trainings have in common: steps until their time is over, checkpoints, resuming, the files they leave."""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from safetensors.torch import save
from torch import Tensor, nn

from descriptors.contract import DescriptorError
from descriptors.datasets.sources import Given, described, folders_of, licences
from descriptors.files import write_whole
from descriptors.headers import check_name, minutes_in_all, read_header
from descriptors.networks import build
from descriptors.packing import pack
from descriptors.runtime import read_network
from descriptors.training.curve import FoundFigures, Progress, TrainingLog
from descriptors.training.machine import Clock, device_named, hardware, keep_memory

CHECKPOINT_SECONDS = 400.0
GPU_CHECKPOINT_SECONDS = 100.0
"""Between two judgements of a network, at which its weights are written too."""
_KEEP_SECONDS = 60.0
"""Between two checkpoints: what a kill costs at most."""
_REPORT_SECONDS = 10.0
_LEARNT = 100
"""Steps after which a training is judged at all: all networks of the zoo are then better than untrained in one figure
at least, in batches of 16 pairs too; of those at too high a rate Swift is worse in all."""


class Plan(Protocol):
    """A recipe, which is a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def network(self) -> str:
        """Key of :data:`descriptors.networks.NETWORKS`."""
        ...

    @property
    def learning_rate(self) -> float:
        """The highest one."""
        ...

    @property
    def minutes(self) -> float:
        """Of training."""
        ...


@dataclass(frozen=True)
class Length:
    """How long a training takes: ``steps``, or, without them, ``minutes`` as :class:`Clock` counts them."""

    minutes: float
    steps: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.minutes < math.inf:
            raise DescriptorError(f"A training of {self.minutes:g} minutes is none. Give --minutes above 0.")
        if self.steps is not None and self.steps < 1:
            raise DescriptorError(f"A training of {self.steps} steps is none. Give --steps 1 or more.")


@dataclass(frozen=True)
class Start:
    """What a training begins with: random weights, or those of a file.

    Attributes:
        weights: the file.
        keep: share of the file's weights in the result, the rest trained: between the two lie weights that are better
            on what either of them is for (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022).
    """

    weights: Path | None = None
    keep: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.keep < 1:
            raise DescriptorError(f"A share of {self.keep:g} of the first weights is not possible: 0 to below 1.")
        if self.keep and self.weights is None:
            raise DescriptorError("There are no first weights of which a share could be kept; name some to begin with.")


def finished(weights: Path) -> bool:
    """Whether weights are those of a training that has ended: a checkpoint beside them says that it has not."""
    return weights.is_file() and not weights.with_suffix(".checkpoint").exists()


def check_place(out: Path, resume: bool) -> None:
    """Refuse a file that a training cannot write to, or that it would take the place of unasked.

    Raises:
        DescriptorError: its name is none of weights, or, with ``resume``, weights stand there that are finished.
    """
    check_name(out)
    if resume and finished(out):
        raise DescriptorError(
            f"{out} is there already, and its training has ended. Give another --out, or train anew in its place with "
            "--no-resume (resume=False)."
        )


Recipes = TypeVar("Recipes", bound=Plan)
Batch = TypeVar("Batch")
Judged = TypeVar("Judged", bound=FoundFigures)


class TrainingRun(ABC, Generic[Recipes, Batch, Judged]):
    """One training of a network. Subclasses say what a batch, a step and a judgement are.

    Attributes:
        plan: the recipe.
        network, optimizer: what is trained, and by what; an optimizer is made by the subclass.
        step: steps done.
        sharing: trainings at once on the machine, this one included.
    """

    sharing = 1
    network: nn.Module
    optimizer: torch.optim.Optimizer

    def __init__(self, plan: Recipes, given: Given, out: Path, length: Length, device: str, seed: int) -> None:
        """Args are those of :func:`descriptors.training.train.train`."""
        if not 0 < plan.learning_rate < math.inf:
            raise DescriptorError(f"A learning rate of {plan.learning_rate:g} is none. Give --rate above 0.")
        keep_memory()
        torch.manual_seed(seed)
        self.plan, self.given, self.out, self.length, self.seed = plan, given, out, length, seed
        self.device = device_named(device)
        self.network = build(plan.network).to(self.device)
        self.step, self._clock = 0, Clock(0.0, self.device)
        self._started_from, self._minutes_before, self._keep = "", 0.0, 0.0
        self._checkpoint = out.with_suffix(".checkpoint")
        self._untrained: Judged | None = None

    @abstractmethod
    def batch(self, step: int) -> Batch:
        """What a step is given; called in another thread while the step before it is taken."""

    @abstractmethod
    def take(self, batch: Batch) -> Tensor:
        """Take a step; its loss."""

    @abstractmethod
    def size(self, batch: Batch) -> int:
        """Pairs of a batch."""

    @abstractmethod
    def figures(self) -> Judged:
        """What the network reaches now."""

    @abstractmethod
    def write_card(self) -> None:
        """Write the card of the weights that were written."""

    def extra_state(self) -> dict[str, Tensor]:
        """What a checkpoint holds beside network and optimizer."""
        return {}

    def take_up(self, state: Mapping[str, Tensor]) -> None:
        """Go on from :meth:`extra_state`."""

    def extra_metadata(self) -> dict[str, str]:
        """What the weights' header says of this kind of training alone."""
        return {}

    def adopt(self, given: nn.Module) -> None:
        """Begin with the weights of another network: of the same layers, or of one that this one says it adopts."""
        network: Any = self.network
        try:
            if type(given) is not type(network) and isinstance(given, getattr(network, "adopts", ())):
                network.adopt(given)
            else:
                network.load_state_dict(given.state_dict())
        except RuntimeError as error:
            raise DescriptorError(
                f"A {type(self.network).__name__} cannot begin with the weights of a {type(given).__name__}: "
                "their layers are not the same. Give weights of the same network."
            ) from error

    @property
    def _identity(self) -> str:
        """What a checkpoint must agree in to be gone on from."""
        begun = self._started_from, self._keep
        return json.dumps([asdict(self.plan), self.seed, begun, folders_of(self.given)], sort_keys=True)

    @property
    def done(self) -> float:
        """Share of the training that is done; over 1 where the last step took longer than there was time."""
        if self.length.steps:
            return self.step / self.length.steps
        return self._clock.spent / (60 * self.length.minutes)

    @property
    def left(self) -> float:
        """What the learning rate falls by, from 1 to 0 along a cosine."""
        return (1 + math.cos(math.pi * min(self.done, 1.0))) / 2

    def go(self, start: Start, resume: bool, progress: Callable[[Progress], None] | None) -> Judged:
        """Train to the end; arguments and files as of :func:`descriptors.training.train.train`."""
        self._untrained = self.figures()
        if start.weights is not None:
            self.adopt(read_network(start.weights))
            self._started_from = hashlib.sha256(start.weights.read_bytes()).hexdigest()
            self._minutes_before, self._keep = minutes_in_all(read_header(start.weights)), start.keep
        first = {name: value.clone() for name, value in self.network.state_dict().items()} if self._keep else {}
        if resume:
            self.resume()
        log = TrainingLog(self.out, step=self.step)

        def report(state: Progress) -> None:
            log.add(state)
            if progress:
                progress(state)

        if self._started_from and not self.step:
            report(Progress(0, 0.0, math.nan, 0.0, self.figures()))
        figures = self.steps(report)
        if self._keep:
            figures = self.mix(first)
        self.write_card()  # while the checkpoint is there: a training killed here goes on, and writes it
        self._checkpoint.unlink(missing_ok=True)
        return figures

    def mix(self, first: Mapping[str, Tensor]) -> Judged:
        """Give the network its share of the weights that it began with, judge it, and write it as it is used."""
        mixed = {
            name: torch.lerp(value, first[name], self._keep) if value.is_floating_point() else value
            for name, value in self.network.state_dict().items()
        }
        self.network.load_state_dict(mixed)
        figures = self.figures()
        self._write(figures, kept=self._keep)
        return figures

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one.

        Raises:
            DescriptorError: it is damaged, or of another training.
        """
        if not self._checkpoint.is_file():
            return
        try:
            state = torch.load(self._checkpoint, map_location=self.device, weights_only=True)
            same = state["identity"] == self._identity
            random: Any = state["random"] if same else None
        except (RuntimeError, UnpicklingError, EOFError, KeyError, TypeError) as error:
            raise DescriptorError(
                f"{self._checkpoint} is damaged. Remove it, or begin anew with --no-resume (resume=False)."
            ) from error
        if not same:
            raise DescriptorError(
                f"{self._checkpoint} belongs to a training with another recipe, seed, beginning or data. "
                "Remove it, or begin anew with --no-resume (resume=False)."
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.take_up(state)
        (torch.cuda if self.device.type == "cuda" else torch).set_rng_state(random.cpu())
        self.step, self._clock = state["step"], Clock(state["spent"], self.device)

    def steps(self, report: Callable[[Progress], None]) -> Judged:
        """All steps that are left, and the figures at their end."""
        lost: list[Tensor] = []
        pairs, done_before = 0, self.done
        since = saved = kept = began = time.monotonic()
        between = CHECKPOINT_SECONDS if self.device.type == "cpu" else GPU_CHECKPOINT_SECONDS
        figures: Judged | None = None
        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(self.batch, self.step)
            while self.done < 1:
                self._clock.start()
                batch = coming.result()
                coming = ahead.submit(self.batch, self.step + 1)
                lost.append(self.take(batch))
                self._clock.stop()
                self.step += 1
                pairs += self.size(batch)
                now = time.monotonic()
                due = now - saved > between or self.done >= 1
                if due or now - since > _REPORT_SECONDS:
                    loss = float(torch.stack(lost).mean())
                    if not math.isfinite(loss):
                        raise self._collapsed(f"a loss of {loss}")
                    if due:
                        figures = self.save()
                        saved = kept = time.monotonic()
                    done, passed = min(self.done, 1.0), time.monotonic() - since
                    left = (1 - done) * (time.monotonic() - began) / max(done - done_before, 1e-9)
                    report(Progress(self.step, done, loss, pairs / passed, figures if due else None, left))
                    lost, pairs, since = [], 0, time.monotonic()
                if time.monotonic() - kept > _KEEP_SECONDS:
                    self.keep()
                    kept = time.monotonic()
        return figures or self.save()

    def save(self) -> Judged:
        """Judge the network; write the checkpoint, and the weights as they are used.

        Raises:
            DescriptorError: the training has collapsed. What was written before stays.
        """
        figures = self.figures()
        if self._untrained and self.step >= _LEARNT and figures.worse_than(self._untrained):
            raise self._collapsed(f"{figures.said()}; random weights reach {self._untrained.said()}")
        self.keep()
        self._write(figures)
        return figures

    def keep(self) -> None:
        """Write the checkpoint."""
        state = {
            "identity": self._identity,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "spent": self._clock.spent,
            "random": (torch.cuda if self.device.type == "cuda" else torch).get_rng_state(),  # dropout draws from it
            **self.extra_state(),
        }
        content = io.BytesIO()
        torch.save(state, content)  # not to the file itself: of a full disk torch tells no more than that it failed
        write_whole(self._checkpoint, content.getbuffer())

    def _collapsed(self, found: str) -> DescriptorError:
        """Nothing leads out: all patches lie at nearly one point, or numbers are none any more."""
        return DescriptorError(
            f"The training of {self.plan.network} has collapsed: after {self.step} steps its network matches worse "
            f"than an untrained one ({found}). Begin anew with --no-resume and a lower --rate than "
            f"{self.plan.learning_rate:g}."
        )

    def _write(self, figures: Judged, *, kept: float = 0.0) -> None:
        metadata = {
            "network": self.plan.network,
            "recipe": json.dumps(asdict(self.plan)),
            "seed": str(self.seed),
            "started_from": self._started_from,
            "kept": f"{kept:g}",
            "steps": str(self.step),
            "minutes": f"{self._clock.spent / 60:.1f}",
            "minutes_before": f"{self._minutes_before:.1f}",
            "done": f"{min(self.done, 1.0):.3f}",
            "hardware": hardware(self.device, self.sharing),
            "data": described(self.given),
            "sources": json.dumps(licences(self.given)),
            "validation": json.dumps(asdict(figures)),
            **self.extra_metadata(),
        }
        trained = {name for name, _ in self.network.named_parameters()}
        in_use = {k: v for k, v in self.network.state_dict().items() if not k.endswith("num_batches_tracked")}
        write_whole(self.out, save(pack(in_use, trained), metadata=metadata))
