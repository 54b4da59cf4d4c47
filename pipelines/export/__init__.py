"""Export of models to the formats of other programs."""

from pipelines.export.run import check_format, export, export_map
from pipelines.export.targets import FORMATS

__all__ = ["FORMATS", "check_format", "export", "export_map"]
