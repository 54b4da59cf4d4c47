"""Local descriptors on their own: ``descriptors.load("l2net").describe(patches)``."""

from descriptors.contract import Descriptor, DescriptorError, DescriptorSpec
from descriptors.registry import load, names, spec

__all__ = ["Descriptor", "DescriptorError", "DescriptorSpec", "load", "names", "spec"]
