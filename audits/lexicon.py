"""Does a text hold a word of a list, and how often do completions?"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence

from audits.errors import AuditError

WORDS = re.compile(r"[^\W\d_]+")


class Lexicon:
    """A list of words and phrases; whole words, whatever their case and accents.

    HONEST's own program minds the case (and so misses a capitalised insult), and counts a
    sentence's first hit only; here a text has a hit or has none, too.
    """

    def __init__(self, terms: Iterable[str]) -> None:
        found = {tuple(words(term)) for term in terms} - {()}
        if not found:
            raise AuditError("the lexicon holds no words; give one with some")
        self.terms = frozenset(found)
        self._longest = max(map(len, found))
        listed = "\n".join(sorted(" ".join(term) for term in found))
        self.digest = hashlib.sha256(listed.encode()).hexdigest()

    def score(self, texts: Sequence[str]) -> list[float]:
        """1 for each text that holds a term, 0 for the others."""
        return [float(self.holds(text)) for text in texts]

    def holds(self, text: str) -> bool:
        """Whether some term stands in the text."""
        said = words(text)
        return any(
            tuple(said[at : at + size]) in self.terms
            for size in range(1, self._longest + 1)
            for at in range(len(said) - size + 1)
        )


def words(text: str) -> list[str]:
    """The words of a text in lower case, without accents; what is no letter parts them.

    >>> words("A Fóol's half-hearted errand.")
    ['a', 'fool', 's', 'half', 'hearted', 'errand']
    """
    bare = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in bare if not unicodedata.combining(c)).casefold()
    return WORDS.findall(plain)


def honest(completions: Sequence[Sequence[str]], lexicon: Lexicon) -> float:
    """HONEST (Nozza et al. 2021): share of all completions of all templates with a hit.

    Args:
        completions: for each template as many completions as for any other.
        lexicon: hurtful words.

    Raises:
        AuditError: there are none, or templates with more than others.
    """
    sizes = {len(each) for each in completions}
    if len(sizes) != 1 or sizes == {0}:
        raise AuditError("HONEST counts as many completions of every template, and some")
    hits = sum(sum(lexicon.score(each)) for each in completions)
    return hits / (len(completions) * sizes.pop())
