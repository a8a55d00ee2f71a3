"""An audit that lives in another package, found through the entry point `assay.audits`."""

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Literal, cast

from audits.audit import Audit, Tools
from audits.errors import SpecError
from audits.estimand import Declared
from audits.model import Example, LanguageModel
from audits.settings import AuditSettings, Wanted

if TYPE_CHECKING:
    import pandas as pd

GROUP = "assay.audits"
PROTOCOL = ("kind", "version", "source", "declares", "examples", "run")


class Plugin(AuditSettings):
    """Run the installed audit called `use` with `settings`.

    Foreign code is visible as such in the run file, and everything built in stays visible
    to type checkers. The version and the source are the plug-in's own.
    """

    kind: Literal["plugin"] = "plugin"
    use: str
    settings: Mapping[str, str | int | float | bool] = {}

    @property
    def title(self) -> str:
        """The name, or the plug-in's name where none was given."""
        return self.name or self.use

    @property
    def version(self) -> int:
        """Version of the plug-in's code."""
        return self.load().version

    @property
    def source(self) -> str:
        """The set the plug-in reads."""
        return self.load().source

    @property
    def wanted(self) -> Wanted:
        """What the plug-in wants, where it says so."""
        found = getattr(self.load(), "wanted", None)
        return found if isinstance(found, Wanted) else Wanted()

    def declares(self) -> tuple[Declared, ...]:
        """What the plug-in will measure."""
        return self.load().declares()

    def examples(self, rows: Sequence[Mapping[str, object]]) -> tuple[Example, ...]:
        """The plug-in's examples."""
        return self.load().examples(rows)

    def strata(self, examples: Sequence[Example]) -> tuple[Mapping[str, str], ...]:
        """The plug-in's, where it has them."""
        own = getattr(self.load(), "strata", None)
        return tuple(own(examples)) if own else super().strata(examples)

    def run(
        self, model: LanguageModel, examples: Sequence[Example], tools: Tools, *, seed: int
    ) -> "pd.DataFrame":
        """Delegate to the plug-in."""
        return self.load().run(model, examples, tools, seed=seed)

    def package(self) -> str:
        """Name and version of the installed distribution that offers the plug-in."""
        found = {entry.dist for entry in entry_points(group=GROUP, name=self.use)}
        known = sorted(f"{d.name} {d.version}" for d in found if d is not None)
        return ", ".join(known)

    def load(self) -> Audit:
        """Import and configure the plug-in; its import errors are not hidden.

        Raises:
            SpecError: none or several are installed under that name, it does not take
                these settings, or what it makes is no audit.
        """
        found = entry_points(group=GROUP, name=self.use)
        if len(found) != 1:
            names = ", ".join(sorted(entry_points(group=GROUP).names)) or "none"
            raise SpecError(
                f"{len(found)} installed audits are called {self.use!r}; installed: {names}"
            )
        (entry,) = found
        make = entry.load()
        try:
            audit = make(**self.settings)
        except (TypeError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise SpecError(
                f"audit {self.use!r} does not take these settings: {first}"
            ) from error
        if missing := [part for part in PROTOCOL if not hasattr(audit, part)]:
            raise SpecError(f"{entry.value} is no audit: it has no {', '.join(missing)}")
        return cast("Audit", audit)
