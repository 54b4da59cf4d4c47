"""What is known of the world of a map's models: metres, and where on earth. It lies beside the models, and goes with
them: a map that is made anew has none until it is aligned again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.core.errors import InputError

FILE = "alignment.json"


@dataclass(frozen=True)
class ModelAlignment:
    """One aligned model.

    Attributes:
        how: ``gps``, ``centres`` or ``distance``.
        scale: metres of the old unit.
        photos: cameras that the alignment rests on.
        outliers: cameras whose given place lies too far off.
        median, largest: distance of the first from their given places, metres.
        origin: latitude, longitude (degrees), altitude (m) of the world's origin, whose axes are then east, north and
            up; None where nothing is known of the earth.
    """

    how: str
    scale: float
    photos: int
    outliers: int = 0
    median: float = 0.0
    largest: float = 0.0
    origin: tuple[float, float, float] | None = None


def read_alignment(sparse: Path) -> dict[str, ModelAlignment]:
    """Folder of a model, e.g. ``sparse/0`` -> its alignment; models that were not aligned are left out.

    Raises:
        InputError: the file cannot be read.
    """
    path = sparse / FILE
    try:
        plain = json.loads(path.read_text("utf-8"))
        return {
            name: ModelAlignment(**{**entry, "origin": tuple(entry["origin"]) if entry["origin"] else None})
            for name, entry in plain.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"Cannot read {path}", str(error), "run `recon map align` again") from error


def alignment_text(alignments: Mapping[str, ModelAlignment]) -> str:
    """The content of the file."""
    return json.dumps({name: asdict(entry) for name, entry in alignments.items()}, indent=2) + "\n"
