"""A descriptor that a user's own ``.py`` file defines; what it answers is held to the contract."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from descriptors.contract import Descriptor, DescriptorError, DescriptorSpec


@dataclass(frozen=True)
class FromFile:
    """The descriptor of a file; keeps :class:`descriptors.contract.Descriptor`.

    Its fingerprint is of the file's content and of the fingerprint that the file's object has, if it has one.
    """

    path: Path
    spec: DescriptorSpec
    answer: Callable[[NDArray], NDArray]
    fingerprint: str

    def __call__(self) -> Descriptor:
        """The descriptor itself."""
        return self

    def describe(self, patches: NDArray) -> NDArray:
        """What the file's ``describe`` answers; it is not asked about no patches.

        Raises:
            DescriptorError: it fails, or its answer is not of the shape and type that its ``spec`` promises.
        """
        wanted = (len(patches), self.spec.width)
        if not len(patches):
            return np.empty(wanted, self.spec.dtype)
        try:
            described = self.answer(patches)
        except (Exception, SystemExit) as error:
            raise DescriptorError(
                f"{self.path} cannot describe patches {patches.shape} {patches.dtype}: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(described, np.ndarray) or described.shape != wanted or described.dtype != self.spec.dtype:
            shape = getattr(described, "shape", type(described).__name__)
            raise DescriptorError(
                f"{self.path} describes {len(patches)} patches by {shape} {getattr(described, 'dtype', '')}; its spec "
                f"promises an array {wanted} {np.dtype(self.spec.dtype)}, a row for each patch."
            )
        return described


@cache
def from_file(path: Path, content: bytes) -> FromFile:
    """The descriptor that a file of this content defines as ``descriptor``.

    Raises:
        DescriptorError: the file cannot be run, or defines none.
    """
    loader = importlib.util.spec_from_file_location(path.stem, path)
    if loader is None or loader.loader is None:
        raise DescriptorError(f"{path} is not a Python file.")
    beside = str(path.resolve().parent)
    if beside not in sys.path:  # what lies beside the file can be imported from it, as from a script
        sys.path.append(beside)
    module = importlib.util.module_from_spec(loader)
    try:
        loader.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # sys.exit() would end the command without a word
        raise DescriptorError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    found: Any = getattr(module, "descriptor", None)
    if not isinstance(getattr(found, "spec", None), DescriptorSpec) or not callable(getattr(found, "describe", None)):
        raise DescriptorError(
            f"{path} defines no descriptor. It needs a variable `descriptor` with `spec`, a DescriptorSpec, "
            f"and `describe(patches)`."
        )
    fingerprint = hashlib.sha256(content + str(getattr(found, "fingerprint", "")).encode()).hexdigest()
    return FromFile(path, found.spec, found.describe, fingerprint)
