"""Training of a matching cost: made stereo pairs, semi-global matching, the share of pixels that it gets wrong.

A softmax of the aggregated costs over disparities, as Luo, Schwing and Urtasun (Efficient deep learning for stereo
matching, CVPR 2016) have of the costs themselves; of it the loss takes the probability of what is off by more than a
pixel: bounded, so that places nobody can match do not outweigh those where training helps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from descriptors.contract import DescriptorError
from descriptors.datasets.sources import Given
from descriptors.datasets.stereo_pairs import PairRange
from descriptors.training.curve import Progress
from descriptors.training.run import Length, Start, TrainingRun, check_place
from descriptors.training.stereo_card import write_stereo_card
from descriptors.training.stereo_sgm import Aggregate
from descriptors.training.stereo_source import Crops, Cut, StereoSource, judged_crops

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

    @property
    def learning_rate(self) -> float:
        """The highest one, of all layers but the first."""
        return self.rate

    def __post_init__(self) -> None:
        if self.pairs < 1:
            raise DescriptorError(f"A batch of {self.pairs} pairs is none. Give --pairs 1 or more.")


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

    def worse_than(self, untrained: StereoFigures) -> bool:
        """Whether less than half is right of what the network gets right as it is built, which is most."""
        return self.within_1 < untrained.within_1 / 2

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
    rate: float | None = None,
    device: str = "cpu",
    seed: int = 0,
    start: str | Path | None = None,
    keep: float = 0.0,
    resume: bool = True,
    progress: Callable[[Progress], None] | None = None,
) -> StereoFigures:
    """Train a matching cost; arguments, files and errors as of :func:`descriptors.training.train.train`.

    What sources give here are photos that made pairs wear: single ones, and those of training scenes.
    """
    plan = STEREO_RECIPES[recipe] if isinstance(recipe, str) else recipe
    if pairs is not None:
        plan = replace(plan, pairs=pairs)
    if rate is not None:
        plan = replace(plan, rate=rate)
    check_place(Path(out), resume)
    begin = Start(None if start is None else Path(start), keep)
    run = StereoRun(plan, data, Path(out), Length(plan.minutes if minutes is None else minutes, steps), device, seed)
    return run.go(begin, resume, progress)


class StereoRun(TrainingRun[StereoRecipe, Crops, StereoFigures]):
    """Of a network whose vectors, one a pixel, are matched along rows."""

    def __init__(self, plan: StereoRecipe, given: Given, out: Path, length: Length, device: str, seed: int) -> None:
        super().__init__(plan, given, out, length, device, seed)
        self._scales = nn.Parameter(torch.tensor([plan.gain, plan.small, plan.large]).log())
        first = list(self.network.layers[0].parameters())  # type: ignore[index, union-attr]
        others = [values for values in self.network.parameters() if all(values is not one for one in first)]
        self._built = {
            name: (values.detach() != 0) & (values.ndim > 1) for name, values in self.network.named_parameters()
        }
        self.optimizer = torch.optim.Adam(
            [{"params": first, "times": plan.first}, {"params": [*others, self._scales], "times": 1.0}], lr=plan.rate
        )
        cut = Cut(*plan.crop, plan.disparities, int(self.network.patch_size) // 2)  # type: ignore[arg-type]
        self._source = StereoSource(given, plan.looks, cut, pairs=plan.pairs, scenes=plan.scenes, seed=seed)
        self._judged = judged_crops(given, plan.looks, cut)

    def batch(self, step: int) -> Crops:
        return self._source.batch(step)

    def size(self, batch: Crops) -> int:
        return len(batch.left)

    def take(self, batch: Crops) -> Tensor:
        warm = min(1.0, (self.step + 1) / self.plan.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate * group["times"] * warm * self.left
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss = matching_loss(*self._matched(batch))
        loss.backward()
        self._keep_built()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        return loss.detach()

    def _keep_built(self) -> None:
        """Take from the gradients what would change how the network is built, or the sum of a first filter: 0."""
        for name, values in self.network.named_parameters():
            if values.grad is None:
                continue
            there = self._built[name]
            values.grad *= there
            if name == "layers.0.weight":
                sums, counts = (part.sum(dim=(1, 2, 3), keepdim=True) for part in (values.grad, there))
                values.grad -= there * sums / counts.clamp(min=1)

    def _matched(self, crops: Crops) -> tuple[Tensor, Tensor]:
        """Logits (P,D) of the pixels that both pictures show, and their disparities (P,)."""
        sides = (side.to(self.device) for side in (crops.left, crops.right))
        left, right = (self.network.dense(side) for side in sides)  # type: ignore[operator]
        gain, small, large = self._scales.exp()
        cost = 255 * gain * (1 - cosines_of(left, right, self.plan.disparities).cpu())
        paths = (small.cpu(), large.cpu(), self.plan.edge, self.plan.least)
        sums = Aggregate.apply(cost, crops.guide.numpy(), *paths)  # type: ignore[no-untyped-call]
        return -sums[crops.seen] / self.plan.softness, crops.disparity[crops.seen]

    def figures(self) -> StereoFigures:
        """Of the pairs that wear held-out photos."""
        self.network.eval()
        with torch.no_grad():
            logits, wanted = self._matched(self._judged)
        right = (logits.argmax(dim=1) - wanted).abs() <= 1
        high = nn.functional.max_pool2d(self._judged.disparity[:, None], 9, 1, 4)
        low = -nn.functional.max_pool2d(-self._judged.disparity[:, None], 9, 1, 4)
        edges = (high - low > 2)[:, 0][self._judged.seen]
        return StereoFigures(float(right.float().mean()), float(right[edges].float().mean()))

    def write_card(self) -> None:
        write_stereo_card(self.out)

    def extra_state(self) -> dict[str, Tensor]:
        return {"scales": self._scales.detach()}

    def take_up(self, state: Mapping[str, Tensor]) -> None:
        self._scales.data.copy_(state["scales"])

    def extra_metadata(self) -> dict[str, str]:
        return {"scales": json.dumps(dict(zip(("gain", "small", "large"), self._scales.exp().tolist(), strict=True)))}


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
