"""One self-contained HTML file that tells a reviewer whether this may ship, and why.

Everything from models, files and people is text to the template, never markup; the page
also forbids itself scripts and any request, so that nothing it shows could make one.
"""

from pathlib import Path

from tasks.report import costs, figures, subgroups, words
from tasks.report.model import ReportRun


def render(run: ReportRun) -> str:
    """The report of a run as HTML; equal runs give equal bytes."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {
        "number": words.number,
        "measured": words.measured,
        "interval": words.interval,
        "seconds": words.seconds,
        "short": words.short,
        "sign": words.SIGNS.__getitem__,
    }
    groups = figures.groups_of(run.candidates)
    return pages.get_template("page.html.jinja").render(
        run=run,
        gated=figures.gated(run.candidates),
        exposure=figures.by_exposure(groups),
        reliability=figures.reliability(groups),
        risk=figures.risk_coverage(groups),
        cost_columns=tuple(costs.COLUMNS),
        costs=costs.costs(run.candidates),
        changes=costs.changes(run.candidates),
        flipped=costs.flipped(run.candidates),
        frontiers=costs.frontiers(run.candidates),
        by_layer=costs.by_layer(run.candidates),
        subgroups=subgroups.views(run.candidates),
        absent=words.ABSENT,
    )
