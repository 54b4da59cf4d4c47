"""Training of a network by a recipe: one path for CPU and GPU, resumable, its length given in time or in steps."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from descriptors.contract import DescriptorError
from descriptors.datasets.sources import Given, described, licences, own_sources
from descriptors.networks import SCORERS, build
from descriptors.networks.hynet import HyNet
from descriptors.networks.l2net import L2Net
from descriptors.packing import pack
from descriptors.runtime import read_network
from descriptors.scorers import halved_rootsift
from descriptors.training.card import write_card
from descriptors.training.curve import Progress, TrainingLog
from descriptors.training.machine import Clock, fuse, hardware, keep_memory, multiplies_bf16
from descriptors.training.objectives import Moment
from descriptors.training.recipes import Recipe
from descriptors.training.recipes import recipe as recipe_by_name
from descriptors.training.source import PairSource, ResidentSource, hashable
from descriptors.training.validate import Figures, ValidationSet

CHECKPOINT_SECONDS = 400.0


def train(
    recipe: Recipe | str,
    data: Given,
    out: str | Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    pairs: int | None = None,
    device: str = "cpu",
    seed: int = 0,
    start: str | Path | None = None,
    resume: bool = True,
    progress: Callable[[Progress], None] | None = None,
) -> Figures:
    """Train a network and write its weights to ``out`` (safetensors), with usable weights there at every checkpoint.

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
        device: torch device, ``cpu`` or ``cuda``.
        seed: of data, augmentation and initial weights.
        start: weights of the same network to begin with instead of random ones.
        resume: go on from a checkpoint of the same training, if there is one.
        progress: called about every ten seconds and after every checkpoint; with ``start``, before the first step too,
            with the figures of the weights as they come.

    Returns:
        Validation figures of the final weights.

    Raises:
        DescriptorError: no such recipe, no such device, or the checkpoint is of another training.
        DataError: data is missing.
    """
    keep_memory()
    plan = recipe_by_name(recipe) if isinstance(recipe, str) else recipe
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DescriptorError(f"The device {device!r} is not here. Use --device cpu.")
    if pairs or device.startswith("cuda"):
        plan = plan.with_batch(pairs or plan.gpu_pairs)
    run = _Run(plan, data, Path(out), minutes or plan.minutes, steps, device, seed)
    if start is not None:
        run.begin_with(Path(start))
    if resume:
        run.resume()
    log = TrainingLog(run.out, step=run.step)

    def report(state: Progress) -> None:
        log.add(state)
        if progress:
            progress(state)

    if run.started_from and not run.step:
        report(Progress(0, 0.0, math.nan, 0.0, run._figures()))
    figures = run.go(report)
    write_card(run.out)
    return figures


@lru_cache(maxsize=4)
def _validation_set(given: tuple[str, ...], patch_size: int, magnification: float) -> ValidationSet:
    return ValidationSet(given, patch_size=patch_size, magnification=magnification)


class _Run:
    def __init__(
        self, plan: Recipe, given: Given, out: Path, minutes: float, steps: int | None, device: str, seed: int
    ) -> None:
        torch.manual_seed(seed)
        self.plan, self.out, self.minutes, self.steps, self.seed = plan, out, minutes, steps, seed
        self.device = torch.device(device)
        self.network = build(plan.network).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.bf16 = multiplies_bf16(plan.precision, self.device)
        if plan.fused:
            fuse(self.network)
        size = int(self.network.patch_size)  # type: ignore[arg-type]
        pairs = PairSource(given, plan.data, patch_size=size, seed=seed)
        self.source: PairSource | ResidentSource = pairs
        if self.device.type == "cuda":
            self.source = ResidentSource(pairs, self.device)
        self.validation = _validation_set(hashable(given), size, plan.data.magnification)
        self.started_from = ""
        self.step, self.clock = 0, Clock(0.0, self.device)
        self.checkpoint = out.with_suffix(".checkpoint")
        self.given = given
        self.identity = json.dumps([asdict(plan), seed, *own_sources(given)], sort_keys=True)

    @property
    def done(self) -> float:
        return self.step / self.steps if self.steps else self.clock.spent / (60 * self.minutes)

    def begin_with(self, weights: Path) -> None:
        given = read_network(weights)
        if isinstance(self.network, HyNet) and isinstance(given, L2Net):
            self.network.adopt(given)
        else:
            self.network.load_state_dict(given.state_dict())
        self.started_from = hashlib.sha256(weights.read_bytes()).hexdigest()

    def resume(self) -> None:
        if not self.checkpoint.is_file():
            return
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        if state["identity"] != self.identity:
            raise DescriptorError(
                f"{self.checkpoint} belongs to a training with another recipe or seed. "
                "Remove it, or train with resume=False."
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        self.step, self.clock = state["step"], Clock(state["spent"], self.device)

    def go(self, progress: Callable[[Progress], None]) -> Figures:
        lost: list[torch.Tensor] = []
        pairs, since, saved = 0, time.monotonic(), time.monotonic()
        began, done_before = since, self.done
        between = CHECKPOINT_SECONDS if self.device.type == "cpu" else min(CHECKPOINT_SECONDS, 15 * self.minutes)
        figures: Figures | None = None
        with ThreadPoolExecutor(1) as ahead:
            coming: Future[Any] = ahead.submit(self.source.batch, self.step)
            while self.done < 1:
                self.clock.start()
                patches = coming.result()
                coming = ahead.submit(self.source.batch, self.step + 1)
                lost.append(self._step(patches))
                if self.device.type == "cuda":
                    torch.cuda.synchronize()
                self.clock.stop()
                self.step += 1
                pairs += len(patches) // 2
                due = time.monotonic() - saved > between
                if due or self.done >= 1:
                    figures = self._save()
                if due or self.done >= 1 or time.monotonic() - since > 10:
                    loss, speed = float(torch.stack(lost).mean()), pairs / (time.monotonic() - since)
                    done, judged = min(self.done, 1.0), figures if due or self.done >= 1 else None
                    left = (1 - done) * (time.monotonic() - began) / max(done - done_before, 1e-9)
                    progress(Progress(self.step, done, loss, speed, judged, left))
                    lost, pairs, since = [], 0, time.monotonic()
                    saved = since if due else saved
        figures = figures or self._save()
        self.checkpoint.unlink(missing_ok=True)
        return figures

    def _step(self, patches: NDArray[np.uint8] | torch.Tensor) -> torch.Tensor:
        done = min(self.done, 1.0)
        warm = min(1.0, (done + 1e-3) / self.plan.warmup) if self.plan.warmup else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate * warm * (1 + math.cos(math.pi * done)) / 2
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss(self._tensor(patches))
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _loss(self, patches: torch.Tensor) -> torch.Tensor:
        return self.plan.loss(self.network, patches, Moment(min(self.done, 1.0), self.generator, self._autocast))

    def _tensor(self, patches: NDArray | torch.Tensor) -> torch.Tensor:
        format_ = torch.channels_last if patches.ndim == 4 else torch.contiguous_format
        given = patches if isinstance(patches, torch.Tensor) else torch.from_numpy(patches)
        return given.to(self.device, torch.float32, memory_format=format_)

    def _autocast(self) -> Any:
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.bf16 else nullcontext()

    def _apply(self, module: Any, *inputs: NDArray) -> NDArray[np.float32]:
        # What is compiled is compiled for batches of one size: here the last part is smaller.
        with torch.no_grad(), self._autocast(), torch.compiler.set_stance("force_eager"):
            parts = [
                module(*(self._tensor(rows[i : i + 256]) for rows in inputs)).float()
                for i in range(0, len(inputs[0]), 256)
            ]
        return torch.cat(parts).cpu().numpy()

    def _figures(self) -> Figures:
        self.network.eval()
        if self.plan.network not in SCORERS:
            return self.validation.figures(partial(self._apply, self.network))
        features, score = (partial(self._apply, part) for part in (self.network.features, self.network.score))
        return self.validation.scored_figures(features, score, halved_rootsift)

    def _save(self) -> Figures:
        figures = self._figures()
        state = {
            "identity": self.identity,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "step": self.step,
            "spent": self.clock.spent,
        }
        self.out.parent.mkdir(parents=True, exist_ok=True)
        replaced(self.checkpoint, lambda path: torch.save(state, path))
        trained = {name for name, _ in self.network.named_parameters()}
        state_of_use = {k: v for k, v in self.network.state_dict().items() if not k.endswith("num_batches_tracked")}
        tensors = pack(state_of_use, trained)
        metadata = {
            "network": self.plan.network,
            "recipe": json.dumps(asdict(self.plan)),
            "seed": str(self.seed),
            "started_from": self.started_from,
            "steps": str(self.step),
            "pairs": str(self.step * self.plan.data.pairs),
            "minutes": f"{self.clock.spent / 60:.1f}",
            "done": f"{min(self.done, 1.0):.3f}",
            "hardware": hardware(self.device),
            "data": described(self.given),
            "sources": json.dumps(licences(self.given)),
            "validation": json.dumps(asdict(figures)),
        }
        content = save(tensors, metadata=metadata)
        replaced(self.out, lambda path: path.write_bytes(content))
        return figures


def replaced(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file beside its place and move it there."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    write(partial)
    os.replace(partial, path)
