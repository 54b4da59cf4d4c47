"""Options of ``recon dense``."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.core.config import known_name
from pipelines.core.errors import ConfigError

MESHES = ("poisson", "none")
_SMALLEST = 120


@dataclass(frozen=True)
class DenseConfig:
    """How depth maps, cloud and mesh are made.

    Attributes:
        size: longer side of the undistorted pictures that depth is found in, px.
        descriptor: ``census``, or a name of the zoo whose dense descriptors are the matching cost.
        neighbours: photos that each one is compared with.
        consistent: other photos that must agree about a point, as far as a photo has so many neighbours.
        max_pixels: largest reprojection error between photos that agree, px of the depth maps.
        max_depth: largest difference of the depths of photos that agree, in sides of a pixel at that depth.
        mesh: ``poisson`` or ``none``.
        triangles: of the mesh at most; 0 keeps as many as come.
    """

    size: int = 1000
    descriptor: str = "census"
    neighbours: int = 5
    consistent: int = 2
    max_pixels: float = 2.0
    max_depth: float = 5.0
    mesh: str = "poisson"
    triangles: int = 1_000_000

    def __post_init__(self) -> None:
        for name, value, least in (
            ("size", self.size, _SMALLEST),
            ("neighbours", self.neighbours, 1),
            ("consistent", self.consistent, 1),
            ("triangles", self.triangles, 0),
        ):
            if value < least:
                raise ConfigError(f"--{name} {value} is too small", f"it must be {least} at least", f"--{name} {least}")
        if self.consistent > self.neighbours:
            raise ConfigError(
                f"{self.consistent} photos cannot agree with one that is compared with {self.neighbours}",
                "--consistent is larger than --neighbours",
                f"--consistent {self.neighbours}, or more --neighbours",
            )
        known_name("mesh", self.mesh, MESHES, "--mesh", "poisson")
