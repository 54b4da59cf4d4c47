"""What a weights file says about itself, read without torch: network, recipe, time, figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from descriptors.contract import DescriptorError

_LONGEST = 1 << 20


def check_name(path: Path) -> None:
    """Refuse a name that weights cannot be used by.

    Raises:
        DescriptorError: it does not end in ``.safetensors``.
    """
    if path.suffix != ".safetensors":
        raise DescriptorError(f"{path} must end in .safetensors, so that --descriptor knows it as a network.")


def read_header(path: Path) -> dict[str, str]:
    """Metadata of a safetensors file: names and texts.

    Raises:
        DescriptorError: the file cannot be read or is no safetensors file.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if 0 < length <= _LONGEST else None
    except OSError as error:
        raise DescriptorError(f"The weights file {path} cannot be read: {error.strerror}.") from error
    except ValueError:  # no JSON, or no text at all
        header = None
    if not isinstance(header, dict):
        raise DescriptorError(f"{path} is no safetensors file, or damaged. Train or import the weights again.")
    metadata = header.get("__metadata__", {})
    return metadata if isinstance(metadata, dict) else {}


def trained_magnification(header: Mapping[str, str]) -> float:
    """Half side of the patches of a training in units of sigma; 7.5, the zoo's own, of weights that do not say it."""
    return float(json.loads(header.get("recipe", "{}")).get("data", {}).get("magnification", 7.5))


def minutes_in_all(header: Mapping[str, str]) -> float:
    """How long weights were trained, with what they began with; 0 for those that say nothing of it."""
    return float(header.get("minutes", 0)) + float(header.get("minutes_before", 0))
