"""Training of a matching cost: made stereo pairs, a softmax over disparities at every pixel that both pictures show.

Source of the loss: Luo, Schwing and Urtasun, Efficient deep learning for stereo matching, CVPR 2016.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from descriptors.datasets.stereo_pairs import PairRange, StereoPair, exposed, made_pair, photos_of
from descriptors.networks import build
from descriptors.runtime import read_network


@dataclass(frozen=True)
class StereoRecipe:
    """One training.

    Attributes:
        network: with ``dense``, a key of :data:`descriptors.networks.NETWORKS`.
        scenes: made pairs; each is cut and exposed anew for every step.
        crop: rows and columns of what a step sees of a pair.
        pairs: crops of a step.
        disparities: that compete at a pixel.
        sharpness: the cosine is multiplied by this before the softmax; learnt from here on.
        rate: peak of Adam's learning rate, then down to 0 along a cosine.
        minutes: of processor time, on two threads.
        validation: every how many photos one is left out of the training.
    """

    network: str = "swift-stereo"
    scenes: int = 64
    crop: tuple[int, int] = (48, 160)
    pairs: int = 4
    disparities: int = 60
    sharpness: float = 12.0
    rate: float = 3e-3
    minutes: float = 12.0
    validation: int = 10
    looks: PairRange = field(default_factory=PairRange)


def train_stereo(
    photos: Path,
    out: Path,
    recipe: StereoRecipe | None = None,
    *,
    start: Path | None = None,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> None:
    """Train a matching cost and write its weights, with usable weights at every report.

    Args:
        photos: folder of photos that the made scenes wear.
        out: safetensors file.
        recipe: StereoRecipe() unless given.
        start: weights to begin with instead of random ones.
        seed: of scenes, crops and initial weights.
        say: told of the progress, about twice a minute.
    """
    plan = recipe or StereoRecipe()
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 1])
    chosen = [photo for number, photo in enumerate(photos_of(photos)) if number % plan.validation]
    network = (read_network(start) if start else build(plan.network)).train()
    sharpness = nn.Parameter(torch.tensor(math.log(plan.sharpness)))
    optimiser = torch.optim.Adam([*network.parameters(), sharpness], lr=plan.rate)
    crops = _crops(chosen, plan, rng)
    spent, step, mean, said, correct = 0.0, 0, float("nan"), 0.0, float("nan")
    while spent < 60 * plan.minutes:
        begin = time.process_time()
        done = spent / (60 * plan.minutes)
        for group in optimiser.param_groups:
            group["lr"] = plan.rate * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * done))
        left, right, disparity, seen = next(crops)
        loss, share = _loss(network, left, right, disparity, seen, sharpness.exp(), plan.disparities)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        mean = loss.item() if math.isnan(mean) else 0.98 * mean + 0.02 * loss.item()
        correct = share if math.isnan(correct) else 0.98 * correct + 0.02 * share
        spent += (time.process_time() - begin) / torch.get_num_threads()
        step += 1
        if spent - said > 30 or spent >= 60 * plan.minutes:
            said = spent
            say(f"{spent:.0f} s  step {step}  loss {mean:.3f}  within 1 px {100 * correct:.1f} %  "
                f"sharpness {sharpness.exp().item():.1f}")  # fmt: skip
            _write(network, out, plan, step, spent, sharpness.exp().item())


def _crops(photos: list, plan: StereoRecipe, rng: np.random.Generator) -> Iterator[tuple[Tensor, ...]]:
    """Batches: standardised pictures (N,1,h,w) left and right, disparities and what both show (N,h,w) of the middle."""
    scenes: list[StereoPair] = []
    margin = 8
    high, wide = plan.crop
    while True:
        parts: list[tuple[np.ndarray, ...]] = []
        for _ in range(plan.pairs):
            if len(scenes) < plan.scenes:
                scenes.append(made_pair(photos, plan.looks, np.random.default_rng(rng.integers(1 << 60))))
            pair = scenes[rng.integers(len(scenes))]
            if rng.random() < 0.7:
                pair = exposed(pair, plan.looks, rng)
            grays = [side @ np.array([0.299, 0.587, 0.114], np.float32) for side in (pair.left, pair.right)]
            grays = [(gray - gray.mean()) / max(float(gray.std()), 1e-2) for gray in grays]
            top = int(rng.integers(margin, plan.looks.height - high - margin))
            begin = int(rng.integers(plan.disparities + margin, plan.looks.width - wide - margin))
            rows = slice(top - margin, top + high + margin)
            middle = (slice(top, top + high), slice(begin, begin + wide))
            parts.append(
                (
                    grays[0][rows, begin - margin : begin + wide + margin][None],
                    grays[1][rows, begin - plan.disparities - margin + 1 : begin + wide + margin][None],
                    pair.disparity[middle],
                    pair.visible[middle],
                )
            )
        yield tuple(torch.from_numpy(np.stack(column)) for column in zip(*parts, strict=True))


def _loss(
    network: nn.Module, left: Tensor, right: Tensor, disparity: Tensor, seen: Tensor, sharpness: Tensor, count: int
) -> tuple[Tensor, float]:
    """Cross entropy over ``count`` disparities at the pixels seen twice, and the share of them within a pixel."""
    ours, theirs = (network.dense(side.float()) for side in (left, right))  # type: ignore[operator]
    # (N,h,w,C) x (N,h,C,w+count-1): of all columns of a row, the last `count` up to the pixel's own are candidates.
    cosines = ours.permute(0, 2, 3, 1) @ theirs.permute(0, 2, 1, 3)
    wide = ours.shape[3]
    columns = torch.arange(wide)[:, None] + count - 1 - torch.arange(count)[None]
    logits = cosines.gather(3, columns.expand(*cosines.shape[:2], wide, count))
    valid = seen & (disparity < count - 1)
    chosen, wanted = logits[valid], disparity[valid]
    lower = wanted.floor().long()
    upper = (wanted - lower).float()
    logged = torch.log_softmax(sharpness * chosen, dim=1)
    picked = logged.gather(1, torch.stack([lower, lower + 1], dim=1))
    weights = torch.stack([1 - upper, upper], dim=1)
    loss = -(weights * picked).sum(dim=1).mean()
    share = float(((chosen.argmax(dim=1) - wanted).abs() <= 1).float().mean())
    return loss, share


def _write(network: nn.Module, out: Path, plan: StereoRecipe, step: int, seconds: float, sharpness: float) -> None:
    header = {
        "network": plan.network,
        "recipe": json.dumps(asdict(plan)),
        "steps": str(step),
        "seconds": f"{seconds:.0f}",
        "sharpness": f"{sharpness:.2f}",
    }
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, out, metadata=header)
