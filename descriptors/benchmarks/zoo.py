"""The table of the zoo: what each descriptor is, how fast it is here, and what it reaches on the validation scenes.

It stands between two marks in a text; rows that are not measured anew stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from descriptors import registry
from descriptors.benchmarks.speed import made_patches, seconds_of
from descriptors.contract import DescriptorError, PairScorerSpec
from descriptors.headers import minutes_in_all, read_header
from descriptors.runtime import WEIGHTS
from descriptors.scorers import halved_rootsift
from descriptors.training.validate import Figures, ValidationSet

BEGIN = "<!-- zoo: made by recon zoo table -->"
END = "<!-- /zoo -->"
_BATCH = 512
_COLUMNS = ("name", "dimensions", "metric", "parameters", "kB", "patches/s", "matching", "rank 1", "FPR95", "trained")


@dataclass(frozen=True)
class Row:
    """One descriptor or metric network.

    Attributes:
        name: of the registry.
        dimensions: floats, or bits; of a metric network what it keeps of a patch.
        metric: L2, Hamming, or ``network``.
        parameters: number of trained ones; 0 where nothing was trained, or OpenCV does not say.
        size: bytes of the weights file, 0 without one.
        speed: patches described a second, on this machine.
        figures: on the validation scenes.
        minutes: of training, with that of the weights it began with; None without training.
    """

    name: str
    dimensions: str
    metric: str
    parameters: int
    size: int
    speed: float
    figures: Figures
    minutes: float | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """What stands in the table."""
        found = self.figures
        return (
            f"`{self.name}`",
            self.dimensions,
            self.metric,
            f"{self.parameters:,}" if self.parameters else "",
            f"{self.size / 1000:,.0f}" if self.size else "",
            f"{self.speed:,.0f}" if self.speed < 1000 else f"{round(self.speed, -2):,.0f}",
            f"{found.matching:.3f}",
            f"{found.rank1:.3f}",
            f"{100 * found.fpr95:.2f} %",
            "" if self.minutes is None else f"{self.minutes:.0f} min",
        )


def measure(name: str, data_dir: Path) -> Row:
    """Measure a descriptor or metric network on the validation scenes below ``data_dir``.

    Raises:
        DescriptorError: nothing has this name, or its weights are missing.
        DataError: there are no validation scenes.
    """
    spec = registry.any_spec(name)
    patches = made_patches(np.random.default_rng(6), _BATCH, spec.patch_size)
    validation = _validation(data_dir, spec.patch_size, spec.magnification)
    if isinstance(spec, PairScorerSpec):
        scorer = registry.load_scorer(name)
        run: Callable[[], object] = partial(scorer.features, patches)
        figures = validation.scored_figures(scorer.features, scorer.score, halved_rootsift)
        dimensions, metric = ("the patch" if spec.raw else str(spec.width)), "network"
    else:
        descriptor = registry.load(name)
        run = partial(descriptor.describe, patches)
        figures = validation.figures(descriptor.describe)
        dimensions = f"{spec.dim} bits" if spec.kind == "binary" else str(spec.dim)
        metric = "Hamming" if spec.distance == "hamming" else "L2"
    weights = WEIGHTS / spec.weights if spec.weights else None
    minutes = minutes_in_all(read_header(weights)) if weights else 0.0
    return Row(
        name, dimensions, metric, spec.parameters, weights.stat().st_size if weights else 0,
        _BATCH / seconds_of(run), figures, minutes or None,
    )  # fmt: skip


def merged(text: str, rows: Sequence[Row], names: Sequence[str]) -> str:
    """``text`` with these rows in its table, in the order of ``names``; other rows of these names stay as they are.

    Raises:
        DescriptorError: the text has not both marks.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise DescriptorError(f"The text has no place for the table: it needs the lines {BEGIN} and {END}, once each.")
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    lines = {line.split("`")[1]: line for line in old.splitlines() if line.startswith("| `")}
    lines |= {row.name: _line(row.cells) for row in rows}
    table = [_line(_COLUMNS), _line(("---", *["---:" if n in (3, 4, 5) else "---" for n in range(1, len(_COLUMNS))]))]
    table += [lines[name] for name in names if name in lines]
    return f"{before}{BEGIN}\n\n" + "\n".join(table) + f"\n\n{END}{after}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


@lru_cache(maxsize=2)
def _validation(data_dir: Path, patch_size: int, magnification: float) -> ValidationSet:
    return ValidationSet(data_dir, patch_size=patch_size, magnification=magnification)
