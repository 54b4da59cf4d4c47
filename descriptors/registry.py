"""The table of descriptors by name. Importing it loads neither torch nor any weights.

A third party adds its own by the entry-point group ``recon.descriptors``: an object with ``spec``
(a :class:`DescriptorSpec`) that, when called without arguments, returns a :class:`Descriptor`.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points

from descriptors.contract import Descriptor, DescriptorError, DescriptorSpec

ENTRY_POINT_GROUP = "recon.descriptors"


@dataclass(frozen=True)
class Entry:
    """One row of the zoo: the spec, and where the code that loads it stands (imported on first use)."""

    spec: DescriptorSpec
    module: str
    factory: str = "load"

    def __call__(self) -> Descriptor:
        """Load the descriptor."""
        return getattr(importlib.import_module(self.module), self.factory)(self.spec)


_LOWE = "Lowe, Distinctive Image Features from Scale-Invariant Keypoints, IJCV 2004"
_ARANDJELOVIC = "Arandjelovic and Zisserman, Three things everyone should know, CVPR 2012"
_RUBLEE = "Rublee et al., ORB: an efficient alternative to SIFT or SURF, ICCV 2011"
_BALNTAS = "Balntas et al., Learning local feature descriptors with triplets, BMVC 2016"
_TIAN = "Tian, Fan and Wu, L2-Net: Deep learning of discriminative patch descriptor, CVPR 2017"

_BUILT_IN: tuple[Entry, ...] = (
    # 7.5 sigma: SIFT's four cells of 3 sigma and the half cell around them that bilinear sharing reaches into.
    Entry(DescriptorSpec("sift", 128, magnification=7.5, ratio=0.85, source=_LOWE), "descriptors.handcrafted"),
    Entry(
        DescriptorSpec("rootsift", 128, magnification=7.5, ratio=0.85, source=_ARANDJELOVIC),
        "descriptors.handcrafted",
    ),
    Entry(
        DescriptorSpec("orb", 256, kind="binary", distance="hamming", patch_size=32, ratio=0.85, source=_RUBLEE),
        "descriptors.opencv",
    ),
    Entry(
        DescriptorSpec("tfeat", 128, patch_size=32, ratio=0.9, parameters=599_808,
                       weights="tfeat.safetensors", source=_BALNTAS),
        "descriptors.runtime",
    ),
    Entry(
        DescriptorSpec("l2net", 128, patch_size=32, ratio=0.9, parameters=1_334_560,
                       weights="l2net.safetensors", source=_TIAN),
        "descriptors.runtime",
    ),
)


@cache
def _table() -> dict[str, Callable[[], Descriptor]]:
    table: dict[str, Callable[[], Descriptor]] = {entry.spec.name: entry for entry in _BUILT_IN}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        factory = point.load()
        table[factory.spec.name] = factory
    return table


def names() -> list[str]:
    """Names of all descriptors, built in and installed by others, in the order of the table."""
    return list(_table())


def _entry(name: str) -> Callable[[], Descriptor]:
    table = _table()
    if name not in table:
        near = difflib.get_close_matches(name, table, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DescriptorError(f"There is no descriptor {name!r}.{hint} Known are: {', '.join(table)}.")
    return table[name]


def spec(name: str) -> DescriptorSpec:
    """Spec of a descriptor by name, without loading it.

    Raises:
        DescriptorError: no descriptor has this name; the message names the nearest one.
    """
    return _entry(name).spec  # type: ignore[attr-defined]


@cache
def load(name: str) -> Descriptor:
    """Load a descriptor by name; loading the same name twice gives the same object.

    Raises:
        DescriptorError: no descriptor has this name; the message names the nearest one.
    """
    return _entry(name)()
