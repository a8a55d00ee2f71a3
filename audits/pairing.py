"""Which rows of two models are about the same examples?"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audits.columns import Coded, compact, present
from audits.errors import MeasureError
from audits.estimand import Declared
from audits.intervals import Ints
from audits.sample import Placed

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Pairing:
    """Examples from 0 to `n` - 1 and their clusters, in one numbering for both models.

    `new` and `old` hold the example of each row of a side, `cluster` the cluster of each
    example.
    """

    new: Ints
    old: Ints
    n: int
    cluster: Ints
    clusters: int


def pairing(declared: Declared, new: Placed, old: Placed) -> Pairing:
    """Match two sides by example.

    Raises:
        MeasureError: they hold different examples, or put one into different clusters.
    """
    ours, theirs, names = _one_numbering(new.examples, new.example, old.examples, old.example)
    same = np.array_equal(ours, theirs)
    known = present(theirs, len(names))
    held = known if same else present(ours, len(names))
    if (unpaired := np.flatnonzero(held != known)).size:
        raise MeasureError(
            f"{declared.name}: {len(unpaired)} examples are unpaired, the first"
            f" {str(names[unpaired[0]])!r}; compare models on the same examples"
        )
    at_old, n = compact(theirs)
    at_new = at_old if same else compact(ours)[0]
    mine, other, _ = _one_numbering(new.clusters, new.cluster, old.clusters, old.cluster)
    owner_new, owner_old = np.empty(n, dtype=np.intp), np.empty(n, dtype=np.intp)
    owner_new[at_new], owner_old[at_old] = mine, other
    if (owner_new != owner_old).any():
        first = int((owner_new != owner_old).argmax())
        raise MeasureError(
            f"{declared.name}: example {str(names[np.flatnonzero(known)[first]])!r} is in"
            " another cluster there; compare models on the same examples"
        )
    cluster, clusters = compact(owner_old)
    return Pairing(at_new, at_old, n, cluster, clusters)


def _one_numbering(
    new: Coded, at_new: Ints, old: Coded, at_old: Ints
) -> "tuple[Ints, Ints, pd.Index[str]]":
    """Codes of both sides as positions in the same sorted names."""
    if new.numbers_as(old):
        return at_new, at_old, old.names
    names = new.names.union(old.names)
    return names.get_indexer(new.names)[at_new], names.get_indexer(old.names)[at_old], names
