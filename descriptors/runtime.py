"""Runs a trained network on patches: on the CPU in onnxruntime, from a graph exported once; on a GPU in torch.

The graph is cached under its fingerprint in ``$RECON_CACHE`` (``~/.cache/recon`` unless set), so that only the first
use of new weights imports torch.
"""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from descriptors.contract import DescriptorError, DescriptorSpec, PairScorerSpec, check_patches
from descriptors.files import write_whole
from descriptors.headers import read_header, trained_magnification
from descriptors.packing import unpack

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = Path(__file__).parent / "weights"
# Changes whenever the code below or a network's forward pass gives other numbers for the same weights.
_VERSION = 4
# Every run of the graph has this many rows, the last one filled up with zeros: one shape, one order of summation,
# hence the same descriptor whatever stands beside it. On two cores 32 to 256 measured alike, within 6 %.
_BATCH = 64
_GPU_BATCH = 4096
_ONE_AT_A_TIME = Lock()
"""Held while a graph is made: photos are described in threads, which all need it at the same moment."""

Backend = Callable[..., NDArray[np.float32]]
"""Takes the inputs of a graph, each with the number of rows that the graph was exported for (any on a GPU)."""


@dataclass(frozen=True)
class Graph:
    """What of a network is run by itself.

    Attributes:
        key: name of the cached graph, with the fingerprint of weights and code.
        inputs: name and fixed shape of each float32 input.
        part: the module to run, of the whole network.
        free: axes of the inputs, and of the output, that may have any size when it is run.
    """

    key: str
    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    part: Callable[[nn.Module], nn.Module] = lambda network: network
    free: tuple[int, ...] = ()


class NetworkDescriptor:
    """A trained network as a descriptor; keeps :class:`descriptors.contract.Descriptor`."""

    def __init__(self, spec: DescriptorSpec, weights: Path, *, device: str = "cpu", threads: int | None = None) -> None:
        """Name what is to be run; weights are read and the graph is made at the first patch.

        Args:
            spec: what the network is; its ``name`` is used in messages and in the cache.
            weights: safetensors file whose header names the network.
            device: ``cpu`` (onnxruntime) or a torch device such as ``cuda``; ``cpu:0`` is torch on the CPU.
            threads: threads of the CPU; None takes all that this process may use.

        Raises:
            DescriptorError: there is no such file.
        """
        check_weights(spec.name, weights)
        self.spec = spec
        self._weights, self._device, self._threads = weights, device, threads

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of the weights, of how patches are cut for them, and of the version of this code."""
        return fingerprint(self._weights, self.spec.patch_size, self.spec.magnification)

    def describe(self, patches: NDArray) -> NDArray[np.float32]:
        """Descriptors (N,D) float32 of unit length of patches (N,1,S,S) uint8 or float32 in 0..255.

        A patch without any contrast gets the network's answer to an empty patch.

        Raises:
            DescriptorError: patches of another shape or type, or weights that cannot be run.
        """
        check_patches(patches, self.spec)
        size = _GPU_BATCH if self._device.startswith("cuda") else _BATCH
        described = np.empty((len(patches), self.spec.dim), np.float32)
        return in_batches(self._backend, (patches,), described, size, batches_at_a_time(self._device, self._threads))

    def variants(self) -> dict[str, NetworkDescriptor]:
        """The same network as it can be run on this machine, by what runs it: for measuring speed."""
        cores = usable_cores()
        ways = {f"onnxruntime, {n} thread{'s' * (n > 1)}": ("cpu", n) for n in sorted({1, cores})}
        ways["torch"] = ("cpu:0", cores)
        if _has_gpu():
            ways["GPU"] = ("cuda", cores)
        return {
            way: NetworkDescriptor(self.spec, self._weights, device=device, threads=threads)
            for way, (device, threads) in ways.items()
        }

    @cached_property
    def _backend(self) -> Backend:
        shape = (_BATCH, 1, self.spec.patch_size, self.spec.patch_size)
        graph = Graph(f"{self.spec.name}-{self.fingerprint[:32]}", (("patches", shape),), self._used)
        return backend(self._weights, graph, self._device, threads=1)

    def _used(self, network: nn.Module) -> nn.Module:
        """In the form that describes; weights of others as their authors' code runs them."""
        return network if "imported_from" in read_header(self._weights) else deployed(network)


def in_batches(
    run: Backend, inputs: Sequence[NDArray], out: NDArray[np.float32], size: int, workers: int
) -> NDArray[np.float32]:
    """Fill ``out`` with what ``run`` gives for rows of the inputs, ``size`` rows a time, the last filled up with zeros.

    Args:
        inputs: arrays of as many rows as ``out`` (N, ...).
        workers: batches that are run side by side, each on one core: a tenth faster than one after the other on all.
    """

    def one(first: int) -> None:
        count = min(size, len(out) - first)
        batches = [np.zeros((size, *rows.shape[1:]), np.float32) for rows in inputs]
        for batch, rows in zip(batches, inputs, strict=True):
            batch[:count] = rows[first : first + count]
        out[first : first + count] = run(*batches)[:count]

    firsts = range(0, len(out), size)
    if min(workers, len(firsts)) < 2:
        for first in firsts:
            one(first)
    else:
        with ThreadPoolExecutor(min(workers, len(firsts))) as pool:
            list(pool.map(one, firsts))
    return out


def batches_at_a_time(device: str, threads: int | None = None) -> int:
    """Batches to run side by side; torch and GPUs use all they have for one."""
    return (threads or usable_cores()) if device == "cpu" else 1


def load(spec: DescriptorSpec) -> NetworkDescriptor:
    """The network that a row of the registry names, with the weights of the package.

    Raises:
        DescriptorError: the weights are missing.
    """
    return NetworkDescriptor(spec, weights_file(spec), device=chosen_device())


def chosen_device() -> str:
    """What runs networks: ``$RECON_DEVICE``, or the CPU."""
    return os.environ.get("RECON_DEVICE", "cpu")


def weights_file(spec: DescriptorSpec | PairScorerSpec) -> Path:
    """The file of weights that a spec names, in the package unless it is named by a whole path.

    Raises:
        DescriptorError: it names none.
    """
    if spec.weights is None:
        raise DescriptorError(f"{spec.name} names no weights, so that no network can be loaded for it.")
    return WEIGHTS / spec.weights


def check_weights(name: str, weights: Path) -> None:
    """Raises:
    DescriptorError: there is no such file.
    """
    if not weights.is_file():
        raise DescriptorError(
            f"{name} has no weights at {weights}. Train them with "
            f"`recon train {name} --data DIR`, or install the package again."
        )


def fingerprint(weights: Path, patch_size: int, magnification: float | None = None) -> str:
    """Hex digest of weights, of the version of this code, and of how patches are cut, where they are."""
    text = f"{_VERSION} {patch_size} {hashlib.sha256(weights.read_bytes()).hexdigest()}"
    # Without that of the training, with which maps were made before it was part of this.
    if magnification not in (None, trained_magnification(read_header(weights))):
        text += f" {magnification:g}"
    return hashlib.sha256(text.encode()).hexdigest()


def backend(weights: Path, graph: Graph, device: str, threads: int | None) -> Backend:
    """The function that runs a graph: from the cache, or exported now and kept there."""
    with _ONE_AT_A_TIME:
        return _made_backend(weights, graph, device, threads)


def _made_backend(weights: Path, graph: Graph, device: str, threads: int | None) -> Backend:
    if device != "cpu":
        return _torch_backend(graph.part(read_network(weights)), device)
    cached = cache_folder() / f"{graph.key}.onnx"
    try:
        return _onnx_backend(cached.read_bytes(), threads)
    except OSError:
        pass  # not made yet, or the cache cannot be read: _store tells
    except Exception as damaged:  # onnxruntime's own classes; whatever it is, the graph can be made anew
        warnings.warn(f"{cached} cannot be run ({damaged}); it is made anew.", stacklevel=2)
    content = export_onnx(graph.part(read_network(weights)), graph.inputs, graph.free)
    _store(cached, content)
    return _onnx_backend(content, threads)


def cache_folder() -> Path:
    """Where graphs are kept: ``$RECON_CACHE``, or ``~/.cache/recon``."""
    return Path(os.environ.get("RECON_CACHE") or Path.home() / ".cache" / "recon") / "graphs"


def read_network(weights: Path) -> nn.Module:
    """The network that a safetensors file holds, in float32 and ready to run. Imports torch.

    Raises:
        DescriptorError: the file is damaged, or is of no network that is known.
    """
    from safetensors import SafetensorError, safe_open

    from descriptors.networks import build

    try:
        with safe_open(weights, framework="pt") as stored:
            name = (stored.metadata() or {}).get("network", "")
            state = unpack({key: stored.get_tensor(key) for key in stored.keys()})  # noqa: SIM118
    except (SafetensorError, OSError) as damaged:
        raise DescriptorError(f"{weights} cannot be read: {damaged}. Install or train the weights again.") from damaged
    network = build(name)
    missing, unknown = network.load_state_dict(state, strict=False)
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unknown:
        raise DescriptorError(f"{weights} is no {name}: lacks {missing}, has besides {unknown}.")
    return network.eval()


def deployed(network: nn.Module) -> nn.Module:
    """An evaluated network in the form that describes: what it makes of itself (``deployed``), or as it was trained."""
    made: Callable[[], nn.Module] | None = getattr(network, "deployed", None)
    return made() if made else network


def fuse_batch_norm(network: nn.Module) -> nn.Module:
    """A copy of an evaluated network whose batch norms are folded into the convolutions before them."""
    import copy

    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    fused = copy.deepcopy(network)
    for sequence in [m for m in fused.modules() if isinstance(m, nn.Sequential)]:
        for number in range(len(sequence) - 1):
            conv, norm = sequence[number], sequence[number + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                sequence[number], sequence[number + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return fused


def export_onnx(network: nn.Module, inputs: Sequence[tuple[str, tuple[int, ...]]], free: tuple[int, ...] = ()) -> bytes:
    """An ONNX graph of a network, batch norm folded; float32 inputs of the given names and shapes, one output.

    The shapes are fixed but for the axes ``free``, which are free in the output too.
    """
    import torch

    names = [name for name, _ in inputs]
    axes = {name: {axis: f"{name}{axis}" for axis in free} for name in [*names, "output"]} if free else None

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The exporter by tracing needs no further package; torch marks it as old with every call.
        warnings.simplefilter("ignore", DeprecationWarning)
        path = Path(folder) / "graph.onnx"
        torch.onnx.export(
            fuse_batch_norm(network), tuple(torch.zeros(shape) for _, shape in inputs), str(path), dynamo=False,
            input_names=names, output_names=["output"], opset_version=17, dynamic_axes=axes,
        )  # fmt: skip
        return path.read_bytes()


def _onnx_backend(graph: bytes, threads: int | None) -> Backend:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that wait by spinning take the cores from whoever else could use them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return lambda *batches: session.run(None, dict(zip(names, batches, strict=True)))[0]


def usable_cores() -> int:
    """Cores that this process may use."""
    # macOS and Windows have no affinity to ask for.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _torch_backend(network: nn.Module, device: str) -> Backend:
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DescriptorError(f"The device {device!r} is not here. Use the CPU: RECON_DEVICE=cpu.")
    fused = fuse_batch_norm(network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(*batches: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return fused(*(torch.from_numpy(batch).to(device) for batch in batches)).cpu().numpy()

    return run


def _store(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content)
    except OSError as refused:  # the graph is in memory: only the next start is slower
        warnings.warn(f"The graph could not be kept at {path} ({refused}); set RECON_CACHE.", stacklevel=2)
