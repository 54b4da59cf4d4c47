"""Who takes part in a board: who is in the registry, and foreign descriptors from files, as ``NAME`` or ``NAME=FILE``.

A file is ``.py`` (defines ``descriptor``, see :mod:`descriptors.registry`), ``.safetensors`` (weights of one of our
networks, named in the header), ``.onnx`` or TorchScript (``.pt``, ``.ts``, ``.torchscript``): a graph that takes
(N,1,S,S) float32 in 0..255 and returns (N,D), which is brought to unit length here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from descriptors import registry
from descriptors.benchmarks.results import Contestant, digest, file_digest
from descriptors.contract import Descriptor, DescriptorError, DescriptorSpec, PairScorer, check_patches
from descriptors.scorers import halved_rootsift

_BATCH = 64
# Changes whenever the code below gives other numbers for the same file.
_VERSION = 1

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Foreign:
    """How patches are cut for graphs that do not say it themselves.

    Attributes:
        magnification: half side of a patch in units of the keypoint's sigma; None for our networks' own, 7.5.
        patch_size: side in pixels where the graph leaves it open.
    """

    magnification: float | None = None
    patch_size: int = 32


def read_contestants(names: Sequence[str], foreign: Foreign = Foreign()) -> list[Contestant]:
    """Contestants in the given order.

    Args:
        names: ``NAME`` of the registry, ``NAME=FILE``, or ``FILE.py``.
        foreign: for what comes from files.

    Raises:
        DescriptorError: an unknown name, a file that cannot be read, the same name twice, or nobody at all.
    """
    found = [_contestant(name, foreign) for name in names]
    if not found:
        raise DescriptorError(f"No descriptor was named. Known are: {', '.join(registry.names())}.")
    doubled = [c.name for number, c in enumerate(found) if c.name in [other.name for other in found[:number]]]
    if doubled:
        raise DescriptorError(f"{doubled[0]!r} takes part twice. Give one of them another name: NAME=FILE.")
    return found


def _contestant(given: str, foreign: Foreign) -> Contestant:
    name, equals, file = given.partition("=")
    if not equals:
        name, file = (Path(given).stem, given) if given.endswith(".py") else (given, "")
    if not file:
        scorer = registry.scorer_for(name)
        return Contestant(name, ScoredPatches(scorer), scorer) if scorer else Contestant(name, registry.load(name))
    path = Path(file)
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise DescriptorError(f"{given} names no file of a known kind; known are {', '.join(_READERS)}.")
    if not path.is_file():
        raise DescriptorError(f"There is no file {path} for the descriptor {name!r}.")
    return Contestant(name, reader(name, path, foreign))


def ready() -> list[str]:
    """Names of the registry that can be run here: all but networks whose weights are not installed."""
    from descriptors.runtime import WEIGHTS

    weights = {name: registry.any_spec(name).weights for name in registry.all_names()}
    return [name for name, file in weights.items() if file is None or (WEIGHTS / file).is_file()]


class ScoredPatches:
    """What a metric network's rows are on the boards: its features, and RootSIFT for the shortlist beside them.

    A network that ``embeds`` is its own shortlist. RootSIFT sees the same patch at half its resolution, and stands as
    bytes beside a ``raw`` network's.
    """

    def __init__(self, scorer: PairScorer) -> None:
        """Keep the metric network."""
        self._scorer = scorer
        given = scorer.spec
        self.spec = DescriptorSpec(
            given.name, given.width, patch_size=given.patch_size, magnification=given.magnification,
            parameters=given.parameters, source=given.source,
        )  # fmt: skip

    @property
    def fingerprint(self) -> str:
        """That of the network and of its shortlist."""
        return digest(self._scorer.fingerprint, registry.load("rootsift").fingerprint)

    def describe(self, patches: NDArray) -> NDArray:
        """Rows (N,F) or (N,F+128) of patches (N,1,S,S) uint8: float32, or uint8 of a raw network.

        Raises:
            DescriptorError: patches of another shape or type, or weights that cannot be run.
        """
        features = self._scorer.features(patches)
        if self._scorer.spec.embeds:
            return features
        listed = halved_rootsift(patches)
        if self._scorer.spec.raw:
            listed = np.clip(np.rint(512 * listed), 0, 255).astype(np.uint8)
        return np.hstack([features, listed])


class GraphDescriptor:
    """A graph from a file as a descriptor: batches of one size, rows of unit length."""

    def __init__(self, spec: DescriptorSpec, run: Run, fingerprint: str) -> None:
        """Keep ``run``, a function (64,1,S,S) float32 → (64,D)."""
        self.spec, self._run, self.fingerprint = spec, run, fingerprint

    def describe(self, patches: NDArray) -> NDArray[np.float32]:
        """Descriptors (N,D) float32 of unit length of patches (N,1,S,S) in 0..255.

        Raises:
            DescriptorError: patches of another shape or type, or the graph returns NaN.
        """
        check_patches(patches, self.spec)
        described = np.empty((len(patches), self.spec.dim), np.float32)
        for first in range(0, len(patches), _BATCH):
            rows = patches[first : first + _BATCH]
            batch = np.zeros((_BATCH, *patches.shape[1:]), np.float32)
            batch[: len(rows)] = rows
            described[first : first + _BATCH] = self._run(batch)[: len(rows)]
        if not np.isfinite(described).all():
            raise DescriptorError(f"{self.spec.name} returns NaN or infinity; it was given patches in 0..255.")
        length = np.linalg.norm(described, axis=1, keepdims=True)
        # A row of zeros (a flat patch, say) has no direction; every other length is divided out.
        return np.where(length > 0, described / np.maximum(length, 1e-30), 1 / np.sqrt(self.spec.dim)).astype(
            np.float32
        )


def _from_graph(name: str, path: Path, run: Run, size: int, foreign: Foreign) -> GraphDescriptor:
    try:
        answer = np.asarray(run(np.zeros((_BATCH, 1, size, size), np.float32)))
    except Exception as error:  # whatever the library throws: the graph does not take what is promised above
        reason = str(error).strip().splitlines()
        raise DescriptorError(
            f"{path} does not take patches ({_BATCH}, 1, {size}, {size}): {reason[0] if reason else error}. "
            "Say their side with --patch-size."
        ) from error
    if answer.ndim != 2 or len(answer) != _BATCH or answer.shape[1] < 2:
        raise DescriptorError(f"{path} returns {answer.shape} for {_BATCH} patches; a descriptor returns (N, D).")
    magnification = foreign.magnification or 7.5
    spec = DescriptorSpec(
        name, answer.shape[1], patch_size=size, magnification=magnification, source=f"the file {path.name}"
    )
    return GraphDescriptor(spec, run, digest(_VERSION, file_digest(path), size, magnification))


def _read_onnx(name: str, path: Path, foreign: Foreign) -> Descriptor:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes, which have no common base
        raise DescriptorError(f"{path} cannot be run: {error}") from error
    (entry, *others) = session.get_inputs()
    if others or len(entry.shape) != 4:
        raise DescriptorError(f"{path} takes {len(others) + 1} inputs, the first {entry.shape}; needed is (N,1,S,S).")
    side = entry.shape[-1] if isinstance(entry.shape[-1], int) else foreign.patch_size
    count = entry.shape[0] if isinstance(entry.shape[0], int) else _BATCH

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        parts = [session.run(None, {entry.name: batch[k : k + count]})[0] for k in range(0, len(batch), count)]
        return np.concatenate(parts)

    if _BATCH % count:
        raise DescriptorError(
            f"{path} takes {count} patches at a time; needed is any number, or a divisor of {_BATCH}."
        )
    return _from_graph(name, path, run, side, foreign)


def _read_script(name: str, path: Path, foreign: Foreign) -> Descriptor:
    from descriptors.networks.torchscript import load_script

    return _from_graph(name, path, load_script(path), foreign.patch_size, foreign)


def _read_python(name: str, path: Path, foreign: Foreign) -> Descriptor:
    return registry.load(str(path))


def _read_weights(name: str, path: Path, foreign: Foreign) -> Descriptor:
    from descriptors.runtime import NetworkDescriptor

    spec = registry.spec(str(path))
    return NetworkDescriptor(replace(spec, name=name, magnification=foreign.magnification or spec.magnification), path)


_READERS: dict[str, Callable[[str, Path, Foreign], Descriptor]] = {
    ".py": _read_python,
    ".safetensors": _read_weights,
    ".onnx": _read_onnx,
    ".pt": _read_script,
    ".ts": _read_script,
    ".torchscript": _read_script,
}
