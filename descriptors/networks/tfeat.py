"""TFeat: Balntas, Riba, Ponsa and Mikolajczyk, Learning local feature descriptors with triplets, BMVC 2016."""

from __future__ import annotations

from torch import Tensor, nn

from descriptors.networks.normalize import INSTANCE_NORM_FLOOR, standardize, unit_length


class TFeat(nn.Module):
    """Two convolutions and one fully connected layer, all with tanh: 599,808 parameters, 128-D.

    Patches are standardised one by one, as the authors' instance norm does, and descriptors scaled to unit length, so
    that all networks of the zoo are used in one way.
    """

    patch_size = 32
    dim = 128

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 7),
            nn.Tanh(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 6),
            nn.Tanh(),
        )
        self.head = nn.Sequential(nn.Linear(64 * 8 * 8, self.dim), nn.Tanh())

    def forward(self, patches: Tensor) -> Tensor:
        """Descriptors (N,128) of unit length of patches (N,1,32,32) in 0..255."""
        return unit_length(self.head(self.features(standardize(patches, floor=INSTANCE_NORM_FLOOR)).flatten(1)))
