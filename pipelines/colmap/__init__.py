"""The one adapter to pycolmap: pixel-centre shift, types, callbacks, statuses and errors.

COLMAP puts the centre of the top-left pixel at (0.5, 0.5), recon at (0, 0). Half a pixel is added on the way
in and taken off on the way out, in this package and nowhere else: for keypoints, principal points, F and H.
Written and tested against pycolmap 4.2; other modules never import pycolmap.
"""

from typing import TYPE_CHECKING

from pipelines.colmap.adjust import settle
from pipelines.colmap.cameras import from_colmap, pixels_of_rays, rays_of_pixels, to_colmap
from pipelines.colmap.lenses import choose_lenses
from pipelines.colmap.mapping import (
    IncrementalJob,
    global_mapping,
    incremental_mapping,
    largest_first,
    put_lenses,
    take_up,
    triangulate,
)
from pipelines.colmap.models import (
    adjusted,
    component_folders,
    from_model,
    is_model,
    load,
    poses,
    read_model,
    registered_names,
    set_colours,
    set_keypoints,
    to_model,
    transform,
    write_model,
    write_text,
)
from pipelines.colmap.pose import absolute_pose
from pipelines.colmap.views import database_names, drop_database, put_database, put_views, verify_pair, write_database

if TYPE_CHECKING:
    from pycolmap import Reconstruction as Reconstruction  # for others' annotations; what it holds is this package's

__all__ = [
    "IncrementalJob",
    "absolute_pose",
    "adjusted",
    "choose_lenses",
    "component_folders",
    "database_names",
    "drop_database",
    "from_colmap",
    "from_model",
    "global_mapping",
    "incremental_mapping",
    "is_model",
    "largest_first",
    "load",
    "pixels_of_rays",
    "poses",
    "put_database",
    "put_lenses",
    "put_views",
    "rays_of_pixels",
    "read_model",
    "registered_names",
    "set_colours",
    "set_keypoints",
    "settle",
    "take_up",
    "to_colmap",
    "to_model",
    "transform",
    "triangulate",
    "verify_pair",
    "write_database",
    "write_model",
    "write_text",
]
