"""The peer of ``recon benchmark sfm``: pycolmap's own SIFT pipeline, as its users run it, in a process of its own.

Run as ``python -m pipelines.benchmarks.colmap_sift IMAGES OUT OPTIONS.json``; leaves ``OUT/sparse/N`` and
``OUT/timings.json``. Defaults of pycolmap throughout, but for what makes the two comparable: the same working
resolution, number of features, seed, smallest model, and camera.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.clock import timed


@dataclass(frozen=True)
class PeerOptions:
    """What both pipelines are given.

    Attributes:
        max_size: longer side at which features are found.
        max_features: number of features.
        seed: of all random choices.
        camera_model: COLMAP camera model.
        camera_params: intrinsics in COLMAP's convention, comma separated; empty to take EXIF.
        fix_intrinsics: keep them.
    """

    max_size: int
    max_features: int
    seed: int
    camera_model: str = "SIMPLE_RADIAL"
    camera_params: str = ""
    fix_intrinsics: bool = False


def run(images: Path, out: Path, options: PeerOptions) -> dict[str, float]:
    """Extract, match exhaustively, map; returns seconds per stage."""
    import pycolmap

    pycolmap.logging.minloglevel = 2
    pycolmap.set_random_seed(options.seed)
    database = out / "database.db"
    timings: dict[str, float] = {}
    extraction = pycolmap.FeatureExtractionOptions()
    extraction.max_image_size = options.max_size
    extraction.sift.max_num_features = options.max_features
    reader = pycolmap.ImageReaderOptions()
    reader.camera_model = options.camera_model
    reader.camera_params = options.camera_params
    with timed(timings, "Features"):
        pycolmap.extract_features(database, images, extraction_options=extraction, reader_options=reader)
    with timed(timings, "Matching + verification"):
        pycolmap.match_exhaustive(database)
    mapping = pycolmap.IncrementalPipelineOptions()
    mapping.random_seed = options.seed
    mapping.min_model_size = 3
    if options.fix_intrinsics:
        mapping.ba_refine_focal_length = mapping.ba_refine_extra_params = False
        mapping.mapper.abs_pose_refine_focal_length = mapping.mapper.abs_pose_refine_extra_params = False
    sparse = out / "sparse"
    sparse.mkdir(exist_ok=True)
    with timed(timings, "Mapping"):
        pycolmap.incremental_mapping(database, images, sparse, mapping)
    return timings


if __name__ == "__main__":
    images_folder, out_folder = Path(sys.argv[1]), Path(sys.argv[2])
    measured = run(images_folder, out_folder, PeerOptions(**json.loads(Path(sys.argv[3]).read_text())))
    (out_folder / "timings.json").write_text(json.dumps(measured))
