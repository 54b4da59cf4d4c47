"""Checkpoints of TFeat, HardNet, SOSNet and HyNet as their authors (and kornia) publish them → weights of the zoo.

An imported network gives what the authors' own code gives for the same patch (theirs with grey values in 0..1, ours in
0..255), scaled to unit length, as all of them but TFeat's authors do too.
"""

from __future__ import annotations

import hashlib
import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descriptors.contract import DescriptorError
from descriptors.files import write_whole
from descriptors.headers import check_name

if TYPE_CHECKING:
    from torch import Tensor, nn

State = dict[str, "Tensor"]


@dataclass(frozen=True)
class Layout:
    """How a published checkpoint names what our network has.

    Attributes:
        network: name in :data:`descriptors.networks.NETWORKS`.
        modules: the checkpoint's modules that hold numbers, in the order in which a patch passes through them.
        unbiased: the authors divide a patch by its standard deviation with N - 1; ours has N. The first layer's weights
            take up the difference.
        ignored: names that begin so are of no use here.
    """

    network: str
    modules: tuple[str, ...]
    unbiased: bool = False
    ignored: tuple[str, ...] = ()


def _pairs(prefix: str, convolutions: tuple[int, ...]) -> tuple[str, ...]:
    """Convolutions at these numbers of a sequence, each followed by its batch norm."""
    return tuple(f"{prefix}.{number + step}" for number in convolutions for step in (0, 1))


_HYNET = (
    *(f"layer1.{part}" for part in range(5)),
    *(f"layer{layer}.{part}" for layer in range(2, 7) for part in range(3)),
    "layer7.1",
    "layer7.2",
)

LAYOUTS: tuple[Layout, ...] = (
    Layout("tfeat", ("features.1", "features.4", "descr.0")),  # vbalnt/tfeat, kornia
    # ducha-aiki/affnet: TFeat's network trained with HardNet's loss, its last layer written as a convolution
    Layout("tfeat", ("features.0", "features.3", "classifier.1"), unbiased=True, ignored=("SIFT.",)),
    Layout("hardnet", _pairs("features", (0, 3, 6, 9, 12, 15, 19)), unbiased=True),  # DagnyT/hardnet, kornia
    Layout("hardnet", _pairs("features", (0, 3, 6, 9, 12, 15, 18)), unbiased=True),  # the same without dropout
    Layout("sosnet", _pairs("layers", (1, 4, 7, 10, 13, 16, 20))),  # yuruntian/SOSNet, kornia
    Layout("hynet", _HYNET),  # yuruntian/HyNet, kornia
)
IMPORTED = tuple(dict.fromkeys(layout.network for layout in LAYOUTS))
"""Networks whose published checkpoints can be read."""


def import_checkpoint(source: str | Path, network: str, out: str | Path) -> None:
    """Write a published checkpoint as safetensors that :func:`descriptors.load` takes by its path.

    Args:
        source: a file that ``torch.save`` wrote (a state dict, or a dict with one in it), or safetensors.
        network: which network it holds, one of :data:`IMPORTED`.
        out: file to write, its name ending in ``.safetensors``.

    Raises:
        DescriptorError: the file cannot be read, or is of another network; the message says what is wrong with it.
    """
    from safetensors.torch import save

    source, out = Path(source), Path(out)
    check_name(out)
    layouts = [layout for layout in LAYOUTS if layout.network == network]
    if not layouts:
        raise DescriptorError(f"No checkpoints of {network!r} are known. Known are: {', '.join(IMPORTED)}.")
    state = read_checkpoint(source)
    layout = next((row for row in layouts if _fits(row, state)), None)
    if layout is None:
        raise DescriptorError(f"{source} holds no {network}: {_difference(layouts, state)}")
    tensors = translate(state, layout, source)
    metadata = {
        "network": network,
        "imported_from": source.name,
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
    }
    content = save(tensors, metadata=metadata)
    try:
        write_whole(out, content)
    except OSError as refused:
        raise DescriptorError(f"{out} cannot be written: {refused.strerror}. Give another place with -o.") from refused


def read_checkpoint(path: Path) -> State:
    """The tensors of a checkpoint by name, in float32, without the ``module.`` of a network trained on several GPUs.

    No code in the file is run.

    Raises:
        DescriptorError: there is no such file, or it holds no tensors by name.
    """
    import torch
    from safetensors.torch import load_file

    try:
        read = load_file if path.suffix == ".safetensors" else _torch_load
        state = _state_dict(read(path))
    except OSError as error:
        raise DescriptorError(f"{path} cannot be read: {error.strerror or error}.") from error
    except pickle.UnpicklingError as error:
        raise DescriptorError(
            f"{path} holds Python objects besides tensors, or is no checkpoint of PyTorch; it is not opened, for it "
            "could run code. If you trust it, save its state_dict alone with torch.save and import that."
        ) from error
    except Exception as error:  # whatever the readers of torch and safetensors make of bytes that are not theirs
        reason = str(error).split("\n", 1)[0].rstrip(".") or type(error).__name__
        raise DescriptorError(f"{path} is no checkpoint of PyTorch, or damaged: {reason}.") from error
    if not state:
        raise DescriptorError(f"{path} holds no tensors by name; a state dict is needed, alone or as 'state_dict'.")
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return {name: value.detach().to(torch.float32) for name, value in state.items()}


def translate(state: State, layout: Layout, source: Path) -> State:
    """The checkpoint's tensors under our network's names.

    Raises:
        DescriptorError: a tensor has another shape than our network's.
    """
    from descriptors.networks import build

    network = build(layout.network)
    modules = _holding_numbers(network)
    own = network.state_dict()
    result: State = {}
    for ours, theirs in zip(modules, layout.modules, strict=True):
        for key in (key for key in own if key.rsplit(".", 1)[0] == ours and not key.endswith("num_batches_tracked")):
            name = f"{theirs}.{key.rsplit('.', 1)[1]}"
            if name not in state:
                raise DescriptorError(f"{source} holds no {layout.network}: it lacks {name}.")
            value, wanted = state[name], own[key].shape
            # The same numbers whether the last layer is written as a product or as a convolution of the whole map.
            if value.numel() != own[key].numel() or value.shape[:1] != wanted[:1]:
                raise DescriptorError(
                    f"{source} holds no {layout.network}: {name} has the shape {tuple(value.shape)}, "
                    f"not {tuple(wanted)}."
                )
            result[key] = value.reshape(wanted).contiguous()
    if layout.unbiased:
        pixels = int(network.patch_size) ** 2  # type: ignore[arg-type]
        first = f"{modules[0]}.weight"
        result[first] = result[first] * math.sqrt((pixels - 1) / pixels)
    return result


def _torch_load(path: Path) -> Any:
    import torch

    return torch.load(path, map_location="cpu", weights_only=True)


def _state_dict(loaded: Any) -> State:
    """The dict of tensors in what a file holds: itself, or one of its values."""
    import torch

    if not isinstance(loaded, dict):
        return {}
    tensors = {name: value for name, value in loaded.items() if isinstance(value, torch.Tensor)}
    inner = [_state_dict(value) for value in loaded.values() if isinstance(value, dict)]
    return max([tensors, *inner], key=len)


def _holding_numbers(network: nn.Module) -> list[str]:
    """Names of the modules that have parameters or buffers of their own, in the order of definition."""
    return [name for name, module in network.named_modules() if module.state_dict() and not list(module.children())]


def _names(layout: Layout, state: State) -> set[str]:
    """The checkpoint's names that matter."""
    return {n for n in state if not n.startswith(layout.ignored or ("\0",)) and not n.endswith("num_batches_tracked")}


def _fits(layout: Layout, state: State) -> bool:
    return {name.rsplit(".", 1)[0] for name in _names(layout, state)} == set(layout.modules)


def _difference(layouts: list[Layout], state: State) -> str:
    """What keeps a checkpoint from being the nearest of these layouts, in one sentence."""
    other = next((row.network for row in LAYOUTS if row not in layouts and _fits(row, state)), None)
    if other:
        return f"its names are those of a {other}; try --network {other}."
    found = {name.rsplit(".", 1)[0] for name in state}
    nearest = min(layouts, key=lambda row: len(set(row.modules) ^ found))
    missing = [name for name in nearest.modules if name not in found]
    foreign = sorted(found.difference(nearest.modules) - {n for n in found if n.startswith(nearest.ignored or ("\0",))})
    parts = [f"it lacks {', '.join(missing[:3])}{' …' * (len(missing) > 3)}"] if missing else []
    parts += [f"it has {', '.join(foreign[:3])}{' …' * (len(foreign) > 3)} besides"] if foreign else []
    return f"{' and '.join(parts)}."
