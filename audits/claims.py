"""Which facts does a text claim? A strict parser for the sentences of a closed world."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

SUBJECT, OBJECT = "{s}", "{o}"
_END = re.compile(r"(?<=\.)\s+|\n+")


@dataclass(frozen=True, slots=True, order=True)
class Form:
    """A sentence that states a relation, with `{s}` and `{o}` for subject and object."""

    relation: str
    template: str

    @property
    def opening(self) -> str:
        """What stands before the subject."""
        return self.template.partition(SUBJECT)[0]

    def fill(self, subject: str, answer: str) -> str:
        """The sentence about this subject and object.

        >>> Form("pet", "{s} has {o} as pet.").fill("Tom Hill", "cat")
        'Tom Hill has cat as pet.'
        """
        return self.template.replace(SUBJECT, subject).replace(OBJECT, answer)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a sentence says: that the subject has this object for the relation."""

    subject: str
    relation: str
    object: str


def form(relation: str, sentence: str, subject: str, answer: str) -> Form | None:
    """The form of a sentence; None where subject or object does not stand in it once.

    >>> form("pet", "Tom Hill has cat as pet.", "Tom Hill", "cat")
    Form(relation='pet', template='{s} has {o} as pet.')
    """
    open_, n = _whole(subject).subn(SUBJECT, sentence)
    found, m = _whole(answer).subn(OBJECT, open_)
    return Form(relation, found) if n == m == 1 else None


def sentences(text: str) -> tuple[str, ...]:
    """The sentences that end in a full stop; a last one that was cut off is left out.

    >>> sentences("A is B. C is D.  E i")
    ('A is B.', 'C is D.')
    """
    return tuple(s for s in _END.split(text.strip()) if s.endswith("."))


@dataclass(frozen=True, eq=False)
class Parser:
    """Reads a sentence as a claim, or not at all.

    A sentence is read where it has exactly one reading: a form fits the whole of it, its
    object has at most as many words as the longest known one of that relation, and its
    subject as many as known subjects may have. Names that nobody knows are read too: they
    are what a hallucination is made of.
    """

    forms: Sequence[Form]
    subjects: Sequence[str]
    objects: Mapping[str, Sequence[str]]
    """By relation, the objects there are."""

    @cached_property
    def _patterns(self) -> list[tuple[str, int, "re.Pattern[str]"]]:
        """By form: its relation, the words its object may have, and what fits it."""
        longest = {
            r: max(map(_words, objects), default=1) for r, objects in self.objects.items()
        }
        return [(f.relation, longest.get(f.relation, 1), _pattern(f)) for f in self.forms]

    @cached_property
    def _sizes(self) -> frozenset[int]:
        return frozenset(map(_words, self.subjects))

    def read(self, sentence: str) -> Claim | None:
        """The one claim of this sentence; None where it has none or several."""
        found = set(self._readings(sentence))
        return found.pop() if len(found) == 1 else None

    def _readings(self, sentence: str) -> Iterator[Claim]:
        for relation, longest, pattern in self._patterns:
            match = pattern.fullmatch(sentence)
            if match and _words(match["o"]) <= longest and _words(match["s"]) in self._sizes:
                yield Claim(match["s"], relation, match["o"])


def _words(text: str) -> int:
    return len(text.split())


def _whole(text: str) -> "re.Pattern[str]":
    """The text where it is no part of a longer word."""
    return re.compile(rf"(?<!\w){re.escape(text)}(?!\w)")


def _pattern(found: Form) -> "re.Pattern[str]":
    spelled = re.escape(found.template)
    for slot, name in ((SUBJECT, "s"), (OBJECT, "o")):
        spelled = spelled.replace(re.escape(slot), rf"(?P<{name}>\S(?:.*\S)?)")
    return re.compile(spelled)
