"""Are the records those that were asked for, and what stands for the ones that are missing?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from audits.columns import Coded, coded
from audits.errors import MeasureError

if TYPE_CHECKING:
    import pandas as pd


def asked(expected: Sequence[str]) -> Coded:
    """The expected ids as numbers; `numbers_as` tells whether two parts asked the same."""
    import pandas as pd

    return coded(pd.Series(list(expected), dtype="str"))


def completed(
    name: str,
    records: "pd.DataFrame",
    expected: Sequence[str],
    wanted: Coded | None = None,
) -> "pd.DataFrame":
    """Records, plus an invalid one for every expected id that has none.

    Args:
        name: of the part, for messages.
        records: in any order, perhaps several `sample`s of an example.
        expected: ids fixed before the model was asked.
        wanted: what `asked` says of them, where it is known.

    Raises:
        MeasureError: a record of an example nobody expected, or one twice.
    """
    import pandas as pd

    held = coded(records["example"])
    wanted = wanted or asked(expected)
    if not held.numbers_as(wanted):
        surplus = held.names.difference(wanted.names)
        if len(surplus):
            raise MeasureError(f"{name}: record of unexpected example {surplus[0]!r}")
    if (twice := _twice(records, held)).any():
        again = records["example"].iloc[int(twice.argmax())]
        raise MeasureError(f"{name}: example {again!r} is recorded twice")
    if held.numbers_as(wanted):
        return records
    missing = [e for e in expected if e not in held.names]
    blank = pd.DataFrame(
        {"example": missing, "cluster": missing, "group": "", "why": "missing"}, dtype="str"
    )
    return pd.concat([records, blank], ignore_index=True)


def _twice(
    records: "pd.DataFrame", held: Coded
) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    if "sample" in records:
        return records.duplicated(["example", "sample"]).to_numpy()
    if len(held.names) == len(records):
        return np.zeros(len(records), dtype=bool)
    return records.duplicated(["example"]).to_numpy()
