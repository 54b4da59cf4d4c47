"""The self-contained HTML report of a map."""

from recon.report.page import write_report

__all__ = ["write_report"]
