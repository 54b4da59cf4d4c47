"""Training of a network by a recipe: one path for CPU and GPU, resumable, its length given in time or in steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from descriptors.datasets.sources import Given
from descriptors.networks import SCORERS
from descriptors.scorers import halved_rootsift
from descriptors.training.card import write_card
from descriptors.training.curve import Progress
from descriptors.training.distill import Distilled
from descriptors.training.machine import fuse, multiplies_bf16
from descriptors.training.objectives import Moment
from descriptors.training.recipes import Recipe
from descriptors.training.recipes import recipe as recipe_by_name
from descriptors.training.run import Length, Start, TrainingRun, check_place
from descriptors.training.source import PairSource, ResidentSource, hashable
from descriptors.training.validate import Figures, ValidationSet

Patches: TypeAlias = NDArray[np.uint8] | Tensor


def train(
    recipe: Recipe | str,
    data: Given,
    out: str | Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    pairs: int | None = None,
    rate: float | None = None,
    device: str = "cpu",
    seed: int = 0,
    start: str | Path | None = None,
    keep: float = 0.0,
    teacher: str | None = None,
    resume: bool = True,
    sharing: int = 1,
    progress: Callable[[Progress], None] | None = None,
) -> Figures:
    """Train a network and write its weights to ``out`` (safetensors), with usable weights there whenever it is judged.

    The checkpoint stands beside ``out`` until the training ends; with ``resume`` a killed training goes on from it.
    Beside it are written, too, the log (``.log.jsonl``), the curve (``.svg``) and, at the end, the card (``.md``). On a
    GPU the recipe's larger batches are taken, and made there.

    Args:
        recipe: a recipe, or the name of one.
        data: folder with ``scenes/`` and ``photos/``, ``map:DIR``, ``brown:DIR``, or several of these; see
            :mod:`descriptors.datasets.sources`, also for what the training is validated on.
        out: weights file to write.
        minutes: time to spend in steps as :class:`Clock` counts it, without loading and validation; None takes the
            recipe's.
        steps: fixed number of steps instead of a time: on one machine the same seed then gives the same weights.
        pairs: of a batch; None takes the recipe's for this device.
        rate: highest learning rate; None takes the recipe's for such batches.
        device: torch device, ``cpu`` or ``cuda``.
        seed: of data, augmentation and initial weights.
        start: weights to begin with instead of random ones, of the same network or of one that it adopts.
        keep: share of these weights in the result, see :class:`descriptors.training.run.Start`.
        teacher: learn from it, beside the recipe's loss: see :class:`descriptors.training.distill.Distilled`.
        resume: go on from a checkpoint of the same training, if there is one, and leave finished weights alone.
        sharing: trainings at once on this machine, for the card.
        progress: called about every ten seconds and whenever it is judged; with ``start``, before the first step too,
            with the figures of the weights as they come.

    Returns:
        Validation figures of the final weights.

    Raises:
        DescriptorError: no such recipe, no such device, a length, a batch or a rate that is none, the checkpoint is of
            another training, ``out`` holds finished weights, a share is to be kept of no weights, or the training
            collapses.
        DataError: data is missing.
    """
    plan = (recipe_by_name(recipe) if isinstance(recipe, str) else recipe).on(device, pairs)
    if teacher is not None:
        plan = replace(plan, loss=Distilled(plan.loss, teacher))
    if rate is not None:
        plan = replace(plan, learning_rate=rate)
    check_place(Path(out), resume)
    begin = Start(None if start is None else Path(start), keep)
    run = PatchRun(plan, data, Path(out), Length(plan.minutes if minutes is None else minutes, steps), device, seed)
    run.sharing = sharing
    return run.go(begin, resume, progress)


@lru_cache(maxsize=4)
def _validation_set(given: tuple[str, ...], patch_size: int, magnification: float) -> ValidationSet:
    return ValidationSet(given, patch_size=patch_size, magnification=magnification)


class PatchRun(TrainingRun[Recipe, Patches, Figures]):
    """Of a network that describes or compares patches."""

    def __init__(self, plan: Recipe, given: Given, out: Path, length: Length, device: str, seed: int) -> None:
        super().__init__(plan, given, out, length, device, seed)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay
        )
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._bf16 = multiplies_bf16(plan.precision, self.device)
        if plan.fused:
            fuse(self.network)
        patch_size = int(self.network.patch_size)  # type: ignore[arg-type]
        source = PairSource(given, plan.data, patch_size=patch_size, seed=seed)
        self._source = ResidentSource(source, self.device) if self.device.type == "cuda" else source
        self._validation = _validation_set(hashable(given), patch_size, plan.data.magnification)

    def batch(self, step: int) -> Patches:
        return self._source.batch(step)

    def size(self, batch: Patches) -> int:
        return len(batch) // 2

    def take(self, batch: Patches) -> Tensor:
        done = min(self.done, 1.0)
        warm = min(1.0, (done + 1e-3) / self.plan.warmup) if self.plan.warmup else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate * warm * self.left
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss(self._tensor(batch))
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _loss(self, patches: Tensor) -> Tensor:
        done = 1.0 if self._started_from else min(self.done, 1.0)
        return self.plan.loss(self.network, patches, Moment(done, self._generator, self._autocast))

    def _tensor(self, patches: Patches) -> Tensor:
        format_ = torch.channels_last if patches.ndim == 4 else torch.contiguous_format
        given = patches if isinstance(patches, Tensor) else torch.from_numpy(patches)
        return given.to(self.device, torch.float32, memory_format=format_)

    def _autocast(self) -> Any:
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self._bf16 else nullcontext()

    def _apply(self, module: Any, *inputs: NDArray) -> NDArray[np.float32]:
        # What is compiled is compiled for batches of one size: here the last part is smaller.
        with torch.no_grad(), self._autocast(), torch.compiler.set_stance("force_eager"):
            parts = [
                module(*(self._tensor(rows[i : i + 256]) for rows in inputs)).float()
                for i in range(0, len(inputs[0]), 256)
            ]
        return torch.cat(parts).cpu().numpy()

    def figures(self) -> Figures:
        self.network.eval()
        if self.plan.network not in SCORERS:
            return self._validation.figures(partial(self._apply, self.network))
        features, score = (partial(self._apply, part) for part in (self.network.features, self.network.score))
        return self._validation.scored_figures(features, score, halved_rootsift)

    def write_card(self) -> None:
        write_card(self.out)

    def extra_state(self) -> dict[str, Tensor]:
        return {"generator": self._generator.get_state()}

    def take_up(self, state: Mapping[str, Tensor]) -> None:
        self._generator.set_state(state["generator"].cpu())

    def extra_metadata(self) -> dict[str, str]:
        return {"pairs": str(self.step * self.plan.data.pairs)}
