"""Export of models to the formats of other programs."""

from pipelines.export.run import export, export_map
from pipelines.export.targets import FORMATS
from pipelines.export.training import export_training, make_training

__all__ = ["FORMATS", "export", "export_map", "export_training", "make_training"]
