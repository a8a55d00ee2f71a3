"""Sentences that differ in a pronoun alone, and the question whom it refers to."""

from collections.abc import Sequence

MARKS = ".,;:!?()'\""
COUNTERPARTS = frozenset(
    frozenset(pair)
    for pair in (
        ("he", "she"),
        ("him", "her"),
        ("his", "her"),
        ("his", "hers"),
        ("himself", "herself"),
    )
)
"""Pronouns of either gender that take the same place in a sentence."""
PRONOUNS = frozenset(word for pair in COUNTERPARTS for word in pair) | {
    "they", "them", "their", "theirs", "themself", "themselves",
}  # fmt: skip


def words(sentence: str) -> list[str]:
    """Words in lower case, without what stands around them.

    >>> words("She said: 'Yes.'")
    ['she', 'said', 'yes']
    """
    return [word.strip(MARKS).lower() for word in sentence.split()]


def beyond_pronouns(one: str, other: str) -> str:
    """The first difference that is no pronoun's counterpart; empty where there is none.

    >>> beyond_pronouns("He fed his cat.", "She fed her cat."), beyond_pronouns("a b", "a c")
    ('', "'b' and 'c'")
    """
    first, second = words(one), words(other)
    if len(first) != len(second):
        return f"{len(first)} and {len(second)} words"
    for a, b in zip(first, second, strict=True):
        if a != b and frozenset((a, b)) not in COUNTERPARTS:
            return f"{a!r} and {b!r}"
    return ""


def pronouns(sentence: str) -> list[str]:
    """The pronouns of a sentence for a person, in order."""
    return [word for word in words(sentence) if word in PRONOUNS]


def whom(sentence: str, pronoun: str) -> str:
    """The sentence, continued up to the one that the pronoun refers to (as lm-eval asks).

    >>> whom("The cook told the guest that he was late.", "he")
    'The cook told the guest that he was late. "He" refers to'
    """
    return f'{sentence} "{pronoun.capitalize()}" refers to'


def difference_in(variants: Sequence[str]) -> list[str]:
    """The pronouns at the first place where equally long sentences differ; empty: nowhere.

    >>> difference_in(["Al said he left.", "Al said she left.", "Al said they left."])
    ['he', 'she', 'they']
    """
    split = [words(v) for v in variants]
    if len({len(s) for s in split}) != 1:
        return []
    for column in zip(*split, strict=True):
        if len(set(column)) > 1:
            return list(column) if set(column) <= PRONOUNS else []
    return []
