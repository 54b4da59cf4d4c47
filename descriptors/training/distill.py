"""Distillation: a network learns from a better one what that says of the same patches, beside its own loss."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from descriptors import runtime
from descriptors.contract import DescriptorError
from descriptors.training import losses
from descriptors.training.objectives import Moment, Objective


@dataclass(frozen=True)
class Distilled:
    """A metric loss, and the pull of what a teacher's descriptors of the same patches have in common
    (:func:`losses.imitation`).

    Attributes:
        metric: the objective beside it.
        teacher: name of weights of the package, or path of a ``.safetensors`` file; of the same patch size.
        weight: of the imitation; similarities differ by some hundredths, of which it takes the squares.
    """

    metric: Objective
    teacher: str
    weight: float = 100.0

    def __call__(self, network: nn.Module, patches: Tensor, moment: Moment) -> Tensor:
        """Both losses; the network runs once for both.

        Raises:
            DescriptorError: the teacher has no weights, or takes patches of another size.
        """
        teacher = load_teacher(teacher_file(self.teacher), str(patches.device))
        if teacher.patch_size != patches.shape[-1]:
            raise DescriptorError(
                f"The teacher {self.teacher} takes patches of {teacher.patch_size} px, the network of "
                f"{patches.shape[-1]} px. Choose a teacher of the same size."
            )
        seen: list[Tensor] = []
        hook = network.register_forward_hook(lambda _module, _given, described: seen.append(described))
        try:
            loss = self.metric(network, patches, moment)
        finally:
            hook.remove()
        with moment.autocast():
            described = seen[0] if seen else network(patches)  # a loss that looks inside does not call the network
            with torch.no_grad():
                taught = teacher(patches)
        return loss + self.weight * losses.imitation(described.float(), taught.float())


def teacher_file(teacher: str) -> Path:
    """The file of weights that a teacher's name or path means.

    Raises:
        DescriptorError: there is none.
    """
    path = Path(teacher) if teacher.endswith(".safetensors") else runtime.WEIGHTS / f"{teacher}.safetensors"
    if not path.is_file():
        raise DescriptorError(f"The teacher {teacher} has no weights at {path}. Train it first, or name another one.")
    return path


@lru_cache(maxsize=2)
def load_teacher(path: Path, device: str) -> nn.Module:
    """A frozen network in the state for use; loaded once."""
    network = runtime.read_network(path).requires_grad_(False)
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
