"""Training of a matching cost: made stereo pairs, semi-global matching, the share of pixels that it gets wrong.

A softmax of the aggregated costs over disparities, as Luo, Schwing and Urtasun (Efficient deep learning for stereo
matching, CVPR 2016) have of the costs themselves; of it the loss takes the probability of what is off by more than a
pixel: bounded, so that places nobody can match do not outweigh those where training helps.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from descriptors.contract import DescriptorError
from descriptors.datasets.sources import Given, described, licences, own_sources
from descriptors.datasets.stereo_pairs import PairRange
from descriptors.networks import build
from descriptors.packing import pack
from descriptors.runtime import read_network
from descriptors.training.curve import Progress, TrainingLog
from descriptors.training.machine import Clock, hardware, keep_memory
from descriptors.training.stereo_card import write_stereo_card
from descriptors.training.stereo_sgm import Aggregate
from descriptors.training.stereo_source import Crops, Cut, StereoSource, judged_crops
from descriptors.training.train import CHECKPOINT_SECONDS, replaced

_ENTROPY, _MOST = 0.05, 4.0
_LOOKS = PairRange(pieces=(2, 9), alike=0.8, printed=0.12, flat=0.3, fine=0.4)


@dataclass(frozen=True)
class StereoRecipe:
    """One training of a matching cost.

    Biases, and weights that are 0 in a new network, stay: which pixels are compared is given, and what is learnt is how
    sharply, how much each counts and how fast it fades. Without this bound, or faster, the cost gets better on crops
    and worse in rendered rooms after checking and filling.

    Attributes:
        network: with ``dense``, a key of :data:`descriptors.networks.NETWORKS`.
        scenes: made pairs; each is cut and photographed anew for every crop.
        crop: rows and columns of what a step sees of a pair.
        pairs: crops of a step.
        disparities: that compete at a pixel.
        gain, small, large: of the cost and the penalties (see :class:`pipelines.depth.sgm.Penalties`); learnt from here
            on. A cosine of 0 costs 255 gain.
        edge, least: of the penalties; not learnt.
        softness: aggregated costs are divided by this before the softmax.
        rate: peak of Adam's learning rate, then down to 0 along a cosine.
        first: the first layer's rate is this times that: its weights are so much larger than those of the others.
        warmup: steps in which it rises.
        minutes: of training.
        looks: of the made pairs.
    """

    network: str = "swift-stereo"
    scenes: int = 40
    crop: tuple[int, int] = (96, 192)
    pairs: int = 2
    disparities: int = 60
    gain: float = 0.5
    small: float = 30.0
    large: float = 300.0
    edge: float = 6.0
    least: float = 40.0
    softness: float = 100.0
    rate: float = 3e-4
    first: float = 10.0
    warmup: int = 20
    minutes: float = 2.0
    looks: PairRange = _LOOKS


STEREO_RECIPES: dict[str, StereoRecipe] = {"swift-stereo": StereoRecipe()}
"""By name; as of all others, the network's name is the recipe's."""


@dataclass(frozen=True)
class StereoFigures:
    """What a matching cost reaches on made pairs of held-out photos, aggregated, but neither checked nor filled.

    Attributes:
        within_1: share of the pixels that both pictures show at which the cheapest disparity is right to 1 px.
        at_edges: the same within 4 px of a step in depth.
    """

    within_1: float
    at_edges: float

    def said(self) -> str:
        """In one line."""
        return f"right to 1 px {100 * self.within_1:.1f} %, at edges {100 * self.at_edges:.1f} %"


def train_stereo(
    recipe: StereoRecipe | str,
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
) -> StereoFigures:
    """Train a matching cost; arguments, files and errors as of :func:`descriptors.training.train.train`.

    What sources give here are photos that made pairs wear: single ones, and those of training scenes.
    """
    plan = STEREO_RECIPES[recipe] if isinstance(recipe, str) else recipe
    plan = replace(plan, pairs=pairs or plan.pairs)
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DescriptorError(f"The device {device!r} is not here. Use --device cpu.")
    keep_memory()
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
        report(Progress(0, 0.0, math.nan, 0.0, run.figures()))
    figures = run.go(report)
    write_stereo_card(run.out)
    return figures


class _Run:
    def __init__(
        self, plan: StereoRecipe, given: Given, out: Path, minutes: float, steps: int | None, device: str, seed: int
    ) -> None:
        torch.manual_seed(seed)
        self.plan, self.given, self.out, self.minutes, self.steps, self.seed = plan, given, out, minutes, steps, seed
        self.device = torch.device(device)
        self.network = build(plan.network).to(self.device)
        self.scales = nn.Parameter(torch.tensor([plan.gain, plan.small, plan.large]).log())
        first = list(self.network.layers[0].parameters())  # type: ignore[index, union-attr]
        others = [values for values in self.network.parameters() if all(values is not one for one in first)]
        self.built = {
            name: (values.detach() != 0) & (values.ndim > 1) for name, values in self.network.named_parameters()
        }
        self.optimizer = torch.optim.Adam(
            [{"params": first, "times": plan.first}, {"params": [*others, self.scales], "times": 1.0}], lr=plan.rate
        )
        cut = Cut(*plan.crop, plan.disparities, int(self.network.patch_size) // 2)  # type: ignore[arg-type]
        self.source = StereoSource(given, plan.looks, cut, pairs=plan.pairs, scenes=plan.scenes, seed=seed)
        self.judged = judged_crops(given, plan.looks, cut)
        self.started_from = ""
        self.step, self.clock = 0, Clock(0.0, self.device)
        self.checkpoint = out.with_suffix(".checkpoint")
        self.identity = json.dumps([asdict(plan), seed, *own_sources(given)], sort_keys=True)

    @property
    def done(self) -> float:
        return self.step / self.steps if self.steps else self.clock.spent / (60 * self.minutes)

    def begin_with(self, weights: Path) -> None:
        self.network.load_state_dict(read_network(weights).state_dict())
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
        self.scales.data.copy_(state["scales"])
        self.step, self.clock = state["step"], Clock(state["spent"], self.device)

    def go(self, progress: Callable[[Progress], None]) -> StereoFigures:
        lost: list[float] = []
        since = saved = began = time.monotonic()
        done_before = self.done
        figures: StereoFigures | None = None
        while self.done < 1:
            self.clock.start()
            lost.append(self._step(self.source.batch(self.step)))
            self.clock.stop()
            self.step += 1
            due = time.monotonic() - saved > CHECKPOINT_SECONDS or self.done >= 1
            if due:
                figures, saved = self._save(), time.monotonic()
            if due or time.monotonic() - since > 10:
                done = min(self.done, 1.0)
                speed = len(lost) * self.plan.pairs / (time.monotonic() - since)
                left = (1 - done) * (time.monotonic() - began) / max(done - done_before, 1e-9)
                progress(Progress(self.step, done, sum(lost) / len(lost), speed, figures if due else None, left))
                lost, since = [], time.monotonic()
        figures = figures or self._save()
        self.checkpoint.unlink(missing_ok=True)
        return figures

    def _step(self, crops: Crops) -> float:
        warm = min(1.0, (self.step + 1) / self.plan.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate * group["times"] * warm * (1 + math.cos(math.pi * min(self.done, 1.0))) / 2
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        logits, wanted = self._matched(crops)
        loss = matching_loss(logits, wanted)
        loss.backward()
        self._keep_built()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def _keep_built(self) -> None:
        """Take from the gradients what would change how the network is built, or the sum of a first filter: 0."""
        for name, values in self.network.named_parameters():
            if values.grad is None:
                continue
            there = self.built[name]
            values.grad *= there
            if name == "layers.0.weight":
                sums, counts = (part.sum(dim=(1, 2, 3), keepdim=True) for part in (values.grad, there))
                values.grad -= there * sums / counts.clamp(min=1)

    def _matched(self, crops: Crops) -> tuple[Tensor, Tensor]:
        """Logits (P,D) of the pixels that both pictures show, and their disparities (P,)."""
        sides = (side.to(self.device) for side in (crops.left, crops.right))
        left, right = (self.network.dense(side) for side in sides)  # type: ignore[operator]
        gain, small, large = self.scales.exp()
        cost = 255 * gain * (1 - cosines_of(left, right, self.plan.disparities).cpu())
        paths = (small.cpu(), large.cpu(), self.plan.edge, self.plan.least)
        sums = Aggregate.apply(cost, crops.guide.numpy(), *paths)  # type: ignore[no-untyped-call]
        return -sums[crops.seen] / self.plan.softness, crops.disparity[crops.seen]

    def figures(self) -> StereoFigures:
        """Of the pairs that wear held-out photos."""
        self.network.eval()
        with torch.no_grad():
            logits, wanted = self._matched(self.judged)
        right = (logits.argmax(dim=1) - wanted).abs() <= 1
        high = nn.functional.max_pool2d(self.judged.disparity[:, None], 9, 1, 4)
        low = -nn.functional.max_pool2d(-self.judged.disparity[:, None], 9, 1, 4)
        edges = (high - low > 2)[:, 0][self.judged.seen]
        return StereoFigures(float(right.float().mean()), float(right[edges].float().mean()))

    def _save(self) -> StereoFigures:
        figures = self.figures()
        state = {
            "identity": self.identity,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scales": self.scales.detach(),
            "step": self.step,
            "spent": self.clock.spent,
        }
        self.out.parent.mkdir(parents=True, exist_ok=True)
        replaced(self.checkpoint, lambda path: torch.save(state, path))
        metadata = {
            "network": self.plan.network,
            "recipe": json.dumps(asdict(self.plan)),
            "seed": str(self.seed),
            "started_from": self.started_from,
            "steps": str(self.step),
            "scales": json.dumps(dict(zip(("gain", "small", "large"), self.scales.exp().tolist(), strict=True))),
            "minutes": f"{self.clock.spent / 60:.1f}",
            "done": f"{min(self.done, 1.0):.3f}",
            "hardware": hardware(self.device),
            "data": described(self.given),
            "sources": json.dumps(licences(self.given)),
            "validation": json.dumps(asdict(figures)),
        }
        trained = {name for name, _ in self.network.named_parameters()}
        content = save(pack(self.network.state_dict(), trained), metadata=metadata)
        replaced(self.out, lambda path: path.write_bytes(content))
        return figures


def cosines_of(left: Tensor, right: Tensor, count: int) -> Tensor:
    """(N,h,w,count) cosines of vectors (N,C,h,w) with those (N,C,h,w+count-1) of the other picture, by disparity."""
    together = (left.permute(0, 2, 3, 1) @ right.permute(0, 2, 1, 3)).contiguous()
    pictures, rows, columns, reach = together.shape
    # Of all columns of a row, those from a pixel's own place on are its candidates: a diagonal band, farthest first.
    steps = (rows * columns * reach, columns * reach, reach + 1, 1)
    return together.as_strided((pictures, rows, columns, count), steps).flip(3)


def matching_loss(logits: Tensor, disparity: Tensor) -> Tensor:
    """Mean probability of disparities off by more than a pixel, by a softmax of logits (P,D); truth is (P,).

    A little of the cross entropy, cut off, is added: it has a gradient where the probability is as good as 0.
    """
    logged = torch.log_softmax(logits, dim=1)
    apart = (torch.arange(logits.shape[1])[None] - disparity[:, None]).abs()
    wrong = 1 - (logged.exp() * torch.sigmoid(4 * (1 - apart))).sum(dim=1)
    lower = disparity.floor()
    upper = disparity - lower
    picked = logged.gather(1, torch.stack([lower, lower + 1], dim=1).long())
    entropy = -(torch.stack([1 - upper, upper], dim=1) * picked).sum(dim=1)
    return (wrong + _ENTROPY * entropy.clamp(max=_MOST)).mean()
