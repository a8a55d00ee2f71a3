"""What a reviewer reads: one HTML file, figures, and the table that ends a run."""

from tasks.report.closing import table
from tasks.report.figures import plots
from tasks.report.model import CandidateReport, DataCheck, ReportRun, StageLine
from tasks.report.page import render

__all__ = ["CandidateReport", "DataCheck", "ReportRun", "StageLine", "plots", "render", "table"]
