"""How far is the work, and how long will the rest take?"""

from types import TracebackType

from tqdm import tqdm

PATIENCE_S = 3.0
"""Work that is done before shows no bar."""


class Progress:
    """A bar on stderr that counts work in tokens, attention included, not requests.

    The whole is not known before it is planned: what is unplanned is guessed from its
    characters by the work that planned characters turned out to be.
    """

    def __init__(self, what: str, characters: int) -> None:
        self._unplanned, self._seen, self._work = characters, 0, 0.0
        self._bar = tqdm(
            total=characters, desc=what, unit="tok", unit_scale=True, delay=PATIENCE_S,
            leave=False,
        )  # fmt: skip

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    @property
    def total(self) -> float:
        """Work of the whole, as far as is known."""
        return float(self._bar.total or 0)

    def plan(self, characters: int, work: float) -> None:
        """So many more characters are planned, and are so much work."""
        self._unplanned -= characters
        self._seen += characters
        self._work += work
        self._bar.total = self._work * (1 + self._unplanned / max(1, self._seen))

    def done(self, work: float) -> None:
        """So much work is done."""
        self._bar.update(work)
