"""Two models read one text side by side, a window at a time."""

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
from tqdm import tqdm

from audits.drift import TextDrift, positions
from audits.errors import AuditError
from tasks.models.predictions import Prediction, Predicts


class NotComparable(AuditError):
    """Two models do not predict the same tokens of a text, so there is no divergence."""


def text_drift(
    base: object, variant: object, documents: Sequence[tuple[str, str]]
) -> TextDrift:
    """What two models say of documents (id, text), both read once, in step.

    In memory are one window of each model and a few sums per document, however long the
    text.

    Raises:
        NotComparable: a model predicts no next token (`Predicts`), or vocabularies,
            windows or what stands before a text are not the same.
        MeasureError: a model gives what is not finite.
    """
    if not (isinstance(base, Predicts) and isinstance(variant, Predicts)):
        raise NotComparable(
            "one of the models predicts no next token (an encoder, or one that only scores), "
            "so there is no KL; compare the models on tasks"
        )
    _require_one_vocabulary(base, variant)
    _require_one_beginning(base, variant)
    found = TextDrift()
    texts = [text for _, text in documents]
    done = 0
    with tqdm(
        total=len(texts), desc="comparing", unit="document", leave=False, disable=None
    ) as bar:
        for ours, theirs in zip_longest(base.predictions(texts), variant.predictions(texts)):
            _require_same(ours, theirs)
            at = positions(ours.logprobs, theirs.logprobs, ours.tokens)
            found.add(documents[ours.text][0], at)
            bar.update(ours.text - done)
            done = ours.text
        bar.update(len(texts) - done)
    return found


def _require_one_vocabulary(base: Predicts, variant: Predicts) -> None:
    """Where both models' tokenizers say which tokens they have: the same ones?"""
    said = []
    for model in (base, variant):
        vocabulary = getattr(getattr(model, "tokenizer", None), "get_vocab", None)
        if vocabulary is None:
            return
        said.append(vocabulary())
    if said[0] != said[1]:
        odd = len(said[0].items() ^ said[1].items())
        raise NotComparable(
            f"the tokenizers differ in {odd} entries, so token ids mean different things and "
            "there is no KL; compare the models on tasks"
        )


def _require_one_beginning(base: Predicts, variant: Predicts) -> None:
    """Where both models say what they put before a text: the same policy and token?"""
    policies = [getattr(model, "bos_policy", None) for model in (base, variant)]
    tokens = [
        getattr(getattr(model, "encoder", None), "prefix", None) for model in (base, variant)
    ]
    if None in policies or None in tokens:
        return
    if policies[0] != policies[1] or tokens[0] != tokens[1]:
        ours, theirs = (
            f"{policy} with token {token}"
            for policy, token in zip(policies, tokens, strict=True)
        )
        raise NotComparable(
            f"the models do not begin a text alike (BOS policy {ours} in the base, {theirs} in "
            "the variant), so they answer in different contexts and there is no KL; give both "
            "the same BOS settings (tokenizer_config.json, or the GGUF file's header), or "
            "compare the models on tasks"
        )


def _require_same(ours: Prediction | None, theirs: Prediction | None) -> None:
    if ours is None or theirs is None or ours.text != theirs.text:
        raise NotComparable(
            "the two models cut the text into different numbers of windows, so there is no KL; "
            "compare the models on tasks"
        )
    if ours.logprobs.shape[1] != theirs.logprobs.shape[1]:
        raise NotComparable(
            f"the base knows {ours.logprobs.shape[1]} tokens and the variant "
            f"{theirs.logprobs.shape[1]}, so there is no KL; compare the models on tasks"
        )
    if not np.array_equal(ours.tokens, theirs.tokens):
        raise NotComparable(
            f"the two models read text {ours.text} as different tokens or in different windows "
            f"({len(ours.tokens)} and {len(theirs.tokens)} tokens), so there is no KL; compare "
            "the models on tasks"
        )
