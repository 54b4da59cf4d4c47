"""Local descriptors on their own: ``descriptors.load("l2net").describe(patches)``."""

from descriptors.contract import Descriptor, DescriptorError, DescriptorSpec, PairScorer, PairScorerSpec
from descriptors.registry import (
    fingerprint,
    load,
    load_scorer,
    names,
    scorer_for,
    scorer_names,
    scorer_spec,
    shortlist,
    spec,
)

__all__ = [
    "Descriptor",
    "DescriptorError",
    "DescriptorSpec",
    "PairScorer",
    "PairScorerSpec",
    "fingerprint",
    "load",
    "load_scorer",
    "names",
    "scorer_for",
    "scorer_names",
    "scorer_spec",
    "shortlist",
    "spec",
]
