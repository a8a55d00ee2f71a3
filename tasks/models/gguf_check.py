"""Does a GGUF file cut texts as the model's own tokenizer does, and answer as it does?"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audits.errors import StageError

if TYPE_CHECKING:
    from tasks.models.gguf_model import GgufModel
    from tasks.models.torch_model import TorchModel

HARD = (
    "",
    " ",
    "a",
    "Once upon a time there was a little girl.",
    " leading, trailing and   several   blanks ",
    "tabs\tand\t\ttabs,\nlines\n\n\nand\r\nlines \n with blanks\n",
    "1 12 123 1234 12345 3.14 1,000 x1y22z333 2024-11-25 ½ ² ٣",
    "it's we'll I'd they've you're I'm don't IT'S WE'LL",
    "A café — «naïve» coöperation; Straße, Ελλάδα, Москва, Tiếng Việt",
    "東京 中文字 日本語テキスト 한국어 العربية עברית हिन्दी ไทย",
    "🙂👩‍👩‍👧🏳️‍🌈 \u200b\u2028\ufeff\u00a0\u3000x",
    "e\u0301 combining, \u1e69 and s\u0323\u0307",
    "$%^&*()_+{}[]|\\:;\"'<>,.?/~`@#!!!???...",
    "def f(x):\n    return x ** 2  # code\n\n\tif x:\n        pass",
    "camelCaseWord snake_case_word ALLCAPS http://example.org/a?b=c&d=e",
)
"""Texts at which tokenizers differ: blanks, line ends, figures, scripts, signs, nothing."""
LONGEST = 600
"""Characters of a text on which log-probabilities are compared."""
COMPARED = 8


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two models are apart over the tokens of a few texts.

    `largest` is the largest difference of a log-probability over the whole vocabulary, in
    nats; `share` the same per largest log-probability; `kl` the mean over tokens of
    KL(source || file), in nats.
    """

    tokens: int
    largest: float
    share: float
    kl: float


def hard_texts(special: Sequence[str], texts: Sequence[str], form: str) -> list[str]:
    """What to compare tokens on: hard strings, special tokens among words, and `texts`.

    `form` is a Unicode form that the tokenizer brings texts into and llama.cpp does not:
    then texts are given in it.
    """
    among = [said for token in special for said in (f"a {token} b", f"a{token}b{token}", token)]
    found = [*HARD, *among, *texts]
    return [unicodedata.normalize("NFC", text) for text in found] if form == "NFC" else found


def require_tokens(file: "GgufModel", source: "TorchModel", texts: Sequence[str]) -> None:
    """Refuse a file that cuts a text elsewhere than the source's tokenizer.

    Raises:
        StageError: naming the first such text and both ways to cut it.
    """
    for text, ours, theirs in zip(
        texts, file.encoder.plain(texts), source.encoder.plain(texts), strict=True
    ):
        if ours != theirs:
            at = next(
                (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
                min(len(ours), len(theirs)),
            )
            raise StageError(
                f"the GGUF file cuts {text[:80]!r} into other tokens than the model's own "
                f"tokenizer: from token {at} on {ours[at : at + 5]}, not "
                f"{theirs[at : at + 5]}; llama.cpp does not know this tokenizer well enough"
            )
    ours, theirs = file.tokenizer.encode("A b."), list(source.tokenizer.encode("A b."))
    if ours != theirs:
        raise StageError(
            f"the GGUF file begins and ends a text otherwise than the model's own tokenizer: "
            f"{ours}, not {theirs}; llama.cpp does not know this tokenizer well enough"
        )


def agreement(file: "GgufModel", source: "TorchModel", texts: Sequence[str]) -> Agreement:
    """Compare log-probabilities of the whole vocabulary at each token of a few texts.

    Raises:
        StageError: the file gives something that is not finite.
    """
    longest = sorted(texts, key=len, reverse=True)[:COMPARED]
    shown = [text[:LONGEST] for text in longest]
    n, largest, size, kl = 0, 0.0, 0.0, 0.0
    for ours, theirs in zip(file.predictions(shown), source.predictions(shown), strict=True):
        mine, other = ours.logprobs.astype(np.float64), theirs.logprobs.astype(np.float64)
        if not np.isfinite(mine).all():
            raise StageError("the GGUF file gives log-probabilities that are not finite")
        n += len(other)
        largest = max(largest, float(np.abs(mine - other).max()))
        size = max(size, float(np.abs(other).max()))
        kl += float((np.exp(other) * (other - mine)).sum())
    return Agreement(n, largest, largest / max(size, 1.0), kl / n)


def require_logits(found: Agreement, tolerance: float) -> None:
    """Refuse a file of floats whose answers are not the source's.

    Raises:
        StageError: the largest difference is above `tolerance` per largest log-probability.
    """
    if found.share > tolerance:
        raise StageError(
            f"the GGUF file's log-probabilities differ from the model's by up to "
            f"{found.largest:.3g} nats over {found.tokens} tokens, {found.share:.2g} of the "
            f"largest, where {tolerance:.2g} is allowed; llama.cpp computes another model"
        )
