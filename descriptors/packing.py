"""How trained weights are kept in a file: large layers as bytes with a scale per row, the rest in half precision.

The whole zoo shall ship in the package: in half precision it is 66 MB, packed 34. Symmetric rounding per output channel
is what inference libraries do with weights (Jacob et al., *Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference*, CVPR 2018); here it is a format only, the arithmetic stays float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_SCALE = ".row_scale"
# Smaller layers stay in half precision: they are read by every patch first, and cost next to nothing.
_LARGE = 16_384


def pack(state: dict[str, Tensor], trained: set[str]) -> dict[str, Tensor]:
    """Tensors for a file, of a network's state.

    Args:
        state: name → float32 tensor.
        trained: names of the trained numbers; others (the statistics of batch norms) stay as they are.

    Returns:
        Name → tensor: float16, or for large ones int8 of the same shape with ``NAME.row_scale`` (rows,) float32.
    """
    packed: dict[str, Tensor] = {}
    for name, value in state.items():
        given = value.detach().cpu().contiguous()
        if name in trained and given.ndim > 1 and given.numel() > _LARGE:
            packed[name], packed[name + _SCALE] = _rows_as_bytes(given)
        else:
            packed[name] = given.half() if name in trained else given
    return packed


def unpack(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state that :func:`pack` was given, as float32; tensors that were not packed are only converted."""
    return {
        name: value.float() * _along_rows(tensors[name + _SCALE], value) if name + _SCALE in tensors else value.float()
        for name, value in tensors.items()
        if not name.endswith(_SCALE)
    }


def _rows_as_bytes(weights: Tensor) -> tuple[Tensor, Tensor]:
    scale = (weights.flatten(1).abs().amax(1) / 127).clamp_min(1e-12).float()
    return (weights / _along_rows(scale, weights)).round().char(), scale


def _along_rows(scale: Tensor, weights: Tensor) -> Tensor:
    return scale.reshape(-1, *[1] * (weights.ndim - 1))
