"""The table that ends a run: candidate, size, speed, verdict, why."""

import io
import shutil

from registry.finding import Verdict
from tasks.report import words
from tasks.report.model import ReportRun

_STYLES = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.INCONCLUSIVE: "yellow"}


def table(run: ReportRun, *, width: int | None = None, colour: bool = False) -> str:
    """One row per candidate as text; what models and files say is never read as markup.

    Args:
        run: the run that ended.
        width: columns to fill; the terminal's, and no fewer than 100, where none are given.
        colour: whether verdicts are coloured with terminal codes.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=Text(run.title), title_justify="left")
    drawn.add_column("candidate", no_wrap=True)
    drawn.add_column("size", justify="right", no_wrap=True)
    drawn.add_column("speed", justify="right", no_wrap=True)
    drawn.add_column("verdict", no_wrap=True)
    drawn.add_column("why", overflow="fold")
    for candidate in run.candidates:
        verdict = "✓ promoted" if candidate.promoted else words.SIGNS[candidate.verdict]
        drawn.add_row(
            Text(candidate.name),
            words.measured(candidate.size),
            words.measured(candidate.speed),
            Text(verdict, style=_STYLES[candidate.verdict]),
            Text(candidate.sentence),
        )
    columns = width or max(100, shutil.get_terminal_size().columns)
    console = Console(
        file=io.StringIO(), width=columns, force_terminal=colour,
        color_system="standard" if colour else None,
        legacy_windows=False,
    )  # fmt: skip
    with console.capture() as captured:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
