"""All options of ``recon sfm`` in one frozen tree; each stage sees only its own branch."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.core.config import check_seed, known_name
from pipelines.core.errors import ConfigError
from pipelines.features.extract import FeatureConfig
from pipelines.geometry.two_view import VerifyConfig
from pipelines.images.cameras import CameraConfig
from pipelines.matching.matcher import MatchConfig
from pipelines.pairs.select import PairingConfig

_MAPPERS = ("incremental", "global")


@dataclass(frozen=True)
class MappingConfig:
    """How verified pairs become models.

    Attributes:
        mapper: ``incremental`` (robust) or ``global`` (fast, needs good focal lengths).
        fix_intrinsics: keep the camera parameters as given.
        choose_lenses: cameras with COLMAP's model SIMPLE_RADIAL become RADIAL or OPENCV where their photos tell it.
        refine_keypoints: measure them anew by grey values once the cameras are known.
        min_model_size: components with fewer photos are dropped (two photos make a model if there are only two).
        snapshot_every: photos between two snapshots on disk, from which a killed mapping of a large set goes on.
    """

    mapper: str = "incremental"
    fix_intrinsics: bool = False
    choose_lenses: bool = True
    refine_keypoints: bool = True
    min_model_size: int = 3
    snapshot_every: int = 100

    def __post_init__(self) -> None:
        known_name("mapper", self.mapper, _MAPPERS, "--mapper", _MAPPERS[0])
        for name, least in (("min_model_size", 2), ("snapshot_every", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}", f"it must be {least} or more")


@dataclass(frozen=True)
class SfmConfig:
    """Everything that the product of ``recon sfm`` depends on, besides the photos."""

    features: FeatureConfig = field(default_factory=FeatureConfig)
    pairs: PairingConfig = field(default_factory=PairingConfig)
    matching: MatchConfig = field(default_factory=MatchConfig)
    verification: VerifyConfig = field(default_factory=VerifyConfig)
    cameras: CameraConfig = field(default_factory=CameraConfig)
    mapping: MappingConfig = field(default_factory=MappingConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
