"""Can every step of every variant be done? Told from shapes and text, before any compute."""

import tempfile
from pathlib import Path

from audits.errors import SpecError
from flows.chains import teachers_of
from flows.failing import Unsound
from flows.home import Home
from flows.spec import BASE, RunSpec, is_name
from tasks.compress import AnyMethod, Calibrated, Distill
from tasks.data.preview import calibration
from tasks.models.folder import is_folder
from tasks.train import TrainSettings


def require_variants(spec: RunSpec, home: Home) -> tuple[str, ...]:
    """Raise Unsound, a line for each variant, where a step cannot be done to its model.

    Returns what is no mistake and yet should be known: columns that a pattern leaves dense.

    A step is rehearsed on the shapes that the steps before will leave. Of a model of the hub
    that is not in its cache nothing is known. What depends on values shows when the step is
    made: a Hessian that cannot be inverted, a loss that diverges, documents that checks of
    the data drop.
    """
    if not spec.variants:
        return ()
    with tempfile.TemporaryDirectory(prefix="assay-") as aside:
        base = _base(spec, Path(aside))
        if base is None:
            return ()
        chains = _Chains(spec, home, base, Path(aside))
        for variant in spec.variants:
            chains.model(variant.name)
    if chains.faults:
        raise Unsound("\n".join(chains.faults))
    return tuple(chains.notes)


class _Chains:
    """Variants as chains of folders that have shapes and no weights."""

    def __init__(self, spec: RunSpec, home: Home, base: Path, aside: Path) -> None:
        from tasks.compress.rehearse import Rehearsal

        self.faults: list[str] = []
        self.notes: list[str] = []
        self._variants = {one.name: (at, one) for at, one in enumerate(spec.variants)}
        self._trained = isinstance(spec.model, TrainSettings)
        self._steps = Rehearsal(_texts(spec, home), bytewise=self._trained)
        self._base, self._aside = base, aside
        self._made: dict[str, Path | None] = {BASE: base}

    def model(self, name: str) -> Path | None:
        """What a candidate will be; None where it cannot be told, or where a fault says why."""
        if name not in self._made:
            self._made[name] = self._walked(name)
        return self._made[name]

    def _walked(self, name: str) -> Path | None:
        at, variant = self._variants[name]
        model = self._base
        for number, method in enumerate(variant.steps):
            place, out = f"variants[{at}].steps[{number}]", self._aside / f"{at}.{number}"
            teachers = self._teachers(method)
            if teachers is None:  # learning from whomever changes no shape
                continue
            if isinstance(method, Distill):  # as `chains.compress_call` hands them over
                method = method.handed(list(map(str, teachers)))
            try:
                told = self._steps.step(method, model, teachers, out)
            except SpecError as error:
                self.faults.append(f"{place}: {self._readable(str(error))}")
                return None
            if told is None:
                return None
            if told:
                self.notes.append(f"{place}: {told}")
            model = out
        return model

    def _teachers(self, method: AnyMethod) -> list[Path] | None:
        """Who teaches a step, as folders; None where one is not known here.

        What a tokenizer that is yet to be learned has in common with another model's is not.
        """
        found = []
        for named in teachers_of(method):
            outside = None if self._trained else _located(named)
            folder = self.model(named) if is_name(named) else outside
            if folder is None:
                return None
            found.append(folder)
        return found

    def _readable(self, said: str) -> str:
        """The sentence with places of the run file for folders that nobody will see."""
        for at, variant in self._variants.values():
            for number in reversed(range(len(variant.steps))):  # 0.10 before 0.1
                place = f"variants[{at}].steps[{number}]"
                said = said.replace(str(self._aside / f"{at}.{number}"), place)
        return said.replace(str(self._aside / BASE), "model")


def _base(spec: RunSpec, aside: Path) -> Path | None:
    """The folder that the chains begin with, or its outline; None where it is not here."""
    if not isinstance(spec.model, TrainSettings):
        return _located(spec.model.path, spec.model.revision)
    from tasks.train.outline import outline_untrained

    folder = aside / BASE
    folder.mkdir()
    outline_untrained(spec.model, folder)
    return folder


def _located(named: str, revision: str | None = None) -> Path | None:
    """A folder, or a model of the hub where its cache holds it; asks no network."""
    if is_folder(named):
        return Path(named).expanduser()
    from tasks.models.hub import cached

    return cached(named, revision)


def _texts(spec: RunSpec, home: Home) -> list[str]:
    """The calibration text, where a step cannot do without."""
    steps = (step for variant in spec.variants for step in variant.steps)
    wanted = any(isinstance(step, Calibrated) and step.reads_text for step in steps)
    return calibration(spec.data, home.data_roots) if wanted else []
