"""Columns of text as numbers, worked out once for as long as a column lives.

Every rule of a policy asks the same two frames for the same examples and clusters, and
sorting a million names takes longer than any statistic over them. What is remembered hangs
on the immutable storage of a column and not on its frame: a frame that is changed gets
other storage, so nothing here can be out of date. Columns without such storage (of Python
objects) are simply worked out each time.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from audits.intervals import Ints

if TYPE_CHECKING:
    import pandas as pd

Bools = npt.NDArray[np.bool_]
Asked = ParamSpec("Asked")
Found = TypeVar("Found")


class Storage(Protocol):
    """An immutable array (Arrow's), shared by every copy of a column."""

    def equals(self, other: object) -> bool:
        """True where both hold the same values."""
        ...


def storage(column: "pd.Series") -> Storage | None:
    """What backs a column of text, if that can never change."""
    if column.dtype != "str" and column.dtype != "string":
        return None
    held = getattr(column.array, "__arrow_array__", None)
    found: Storage | None = held() if held is not None else None
    return found if hasattr(found, "equals") else None


def remembered(work: Callable[Asked, Found]) -> Callable[Asked, Found]:
    """Do `work` on columns once, while all of them live."""
    known: dict[tuple[object, ...], tuple[Found, tuple[object, ...]]] = {}

    @wraps(work)
    def once(*columns: Asked.args, **settings: Asked.kwargs) -> Found:
        backing = [storage(column) for column in columns]  # type: ignore[arg-type] # all are columns
        key = (*map(id, backing), *settings.values())
        if None in backing:
            return work(*columns, **settings)
        if key not in known:
            found = work(*columns, **settings)

            def forget(_: object) -> None:
                known.pop(key, None)

            known[key] = found, tuple(weakref.ref(held, forget) for held in backing)
        return known[key][0]

    return once


@dataclass(frozen=True, eq=False)
class Coded:
    """A column of names as numbers, in the order of the names.

    Args:
        codes: for each row the position of its name in `names`; -1 where it has none.
        names: what occurs, sorted by code point, each once.
    """

    codes: Ints
    names: "pd.Index[str]"

    @cached_property
    def order(self) -> Ints | None:
        """Rows by name, equals in their order; None where they already are."""
        if (self.codes[1:] >= self.codes[:-1]).all():
            return None
        return np.argsort(self.codes, kind="stable")

    @cached_property
    def ordered(self) -> Ints:
        """The codes of the rows in that order."""
        return self.codes if self.order is None else self.codes[self.order]

    def numbers_as(self, other: "Coded") -> bool:
        """True where equal codes are equal names on both sides."""
        return self is other or self.names is other.names or self.names.equals(other.names)

    def of(self, name: str) -> int:
        """Code of a name; -2, which no row has, where it does not occur."""
        at = int(self.names.searchsorted(name))
        return at if at < len(self.names) and self.names[at] == name else -2


_SEEN: "list[tuple[weakref.ref[Storage], weakref.ref[Coded]]]" = []


@remembered
def coded(column: "pd.Series") -> Coded:
    """Number a column of names; two columns that hold the same share one answer."""
    backing = storage(column)
    if backing is None:
        return _numbered(column)
    _SEEN[:] = [pair for pair in _SEEN if pair[0]() is not None and pair[1]() is not None]
    for reference, answer in _SEEN:
        other, known = reference(), answer()
        if known is not None and len(known.codes) == len(column) and backing.equals(other):
            break
    else:
        known = _numbered(column)
    _SEEN.append((weakref.ref(backing), weakref.ref(known)))
    return known


def _numbered(column: "pd.Series") -> Coded:
    import pandas as pd

    codes, names = pd.factorize(column)
    found = pd.Index(names)
    if not found.is_monotonic_increasing:
        by_name = found.argsort()
        rank = np.empty(len(found) + 1, dtype=np.intp)
        rank[by_name], rank[-1] = np.arange(len(found)), -1
        codes, found = rank[codes], found[by_name]
    return Coded(codes, found)


def present(codes: Ints, names: int = 0) -> Bools:
    """For each code up to the largest (or up to `names`) whether it occurs."""
    found = np.zeros(names or int(codes.max(initial=-1)) + 1, dtype=bool)
    found[codes] = True
    return found


def compact(codes: Ints) -> tuple[Ints, int]:
    """The same distinct codes numbered from 0 without gaps, in their order; and how many."""
    found = present(codes)
    count = int(np.count_nonzero(found))
    if count == len(found):
        return codes, count
    return (np.cumsum(found) - 1)[codes], count
