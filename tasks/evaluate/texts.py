"""How many bits does the model need for a byte of text?"""

import hashlib
import math
from pathlib import Path

from audits.errors import AuditError, SpecError
from audits.model import LanguageModel
from tasks.evaluate.records import TRUNCATED, Outcome
from tasks.evaluate.settings import EvaluateSettings
from tasks.models.asked import ScoresText


def measure_texts(
    settings: EvaluateSettings, model: LanguageModel, folder: Path | None
) -> list[Outcome]:
    """Bits and UTF-8 bytes of each document of each set named, in file order.

    A document is scored alone, given BOS, in windows of the model's length.

    Raises:
        SpecError: no dataset is given, or it lacks a set.
        AuditError: the model cannot score texts longer than its window.
    """
    if not settings.texts:
        return []
    if folder is None:
        raise SpecError(f"evaluate: texts {list(settings.texts)} need a dataset; name one")
    if not isinstance(model, ScoresText):
        raise AuditError(
            "evaluate: texts: this model cannot score whole texts; leave texts out"
        )
    return [_measure(name, settings.text_limit, model, folder) for name in settings.texts]


def _measure(name: str, limit: int | None, model: ScoresText, folder: Path) -> Outcome:
    from tasks import dataset

    texts = dataset.texts(folder, name)[:limit]
    if not texts:
        raise SpecError(
            f"evaluate: texts: the set {name!r} of the dataset has no documents; make the "
            "dataset with some, or leave the set out"
        )
    ids = [f"{name}/{row['id']}" for row in dataset.rows(folder, name)[:limit]]
    rows: list[dict[str, object]] = []
    for example, text, score in zip(ids, texts, model.score_text(texts), strict=True):
        key: dict[str, object] = {
            "question": f"text/{name}",
            "example": example,
            "cluster": example,
        }
        if not text:
            rows.append(key | {"why": "the document is empty"})
            continue
        rows.append(
            key | {
                "bits": -score.logprob / math.log(2),
                "bytes": float(score.n_bytes),
                "tokens": float(score.n_tokens),
                TRUNCATED: 0.0,  # windows hold every token once
            }
        )  # fmt: skip
    return Outcome(
        name=f"text/{name}",
        expected=tuple(ids),
        rows=tuple(rows),
        values=frozenset({"bits"}),
        hashes=tuple(hashlib.sha256(text.encode()).hexdigest() for text in texts),
        notes={"documents": len(texts)},
        documents=(f"{name}: {len(texts)} from the set {name!r} of the dataset",),
    )
