"""What an audit is handed beside the model it asks, or why something is lacking."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from audits.audit import Tools
from audits.errors import AuditError, SpecError
from audits.model import LanguageModel
from audits.settings import Wanted
from tasks import dataset
from tasks.job import Job
from tasks.scorers import load_scorer

if TYPE_CHECKING:
    from tasks.models.memory import Remembering

Thing = TypeVar("Thing")


def handed(wanted: Wanted, job: Job, model: "Remembering", tools: Tools) -> Tools:
    """The tools with all that is wanted, as far as it can be had.

    What cannot be had on this machine is no reason to stop: the measures that rest on it are
    absent, and `lacking` says why.

    Raises:
        SpecError: a set that is named is not in the dataset, or holds no text; or a model of
            inference is not the one that is named.
    """
    lacking: dict[str, str] = dict(tools.lacking)
    references = dict(tools.references)
    if wanted.untrained:
        twins = _if_possible(lacking, "untrained", lambda: dict(_twins(wanted, job)))
        references |= twins or {}
    if wanted.unigram:
        texts = dataset.texts(job.inputs["dataset"].folder, wanted.unigram)
        counted = _if_possible(lacking, "unigram", lambda: _unigram(model, texts))
        references |= {"unigram": counted} if counted else {}
    given = replace(tools, references=references, lacking=lacking)
    if wanted.corpus:
        corpus = dataset.texts(job.inputs["dataset"].folder, wanted.corpus)
        given = replace(given, corpus=tuple(corpus))
    if asked := wanted.scorer:
        found = _if_possible(lacking, "scorer", lambda: load_scorer(asked))
        given = replace(given, scorer=found)
    if beside := wanted.entailment:
        from tasks.models.entailment import load_entailment

        model_of = load_entailment(Path(beside.folder), digest=beside.digest)
        given = replace(given, entailment=model_of)
    return given


def said_of(wanted: Wanted, tools: Tools) -> dict[str, str]:
    """Conditions to record: what scored texts and under which terms, and what is lacking."""
    said = {f"no {name}": why for name, why in tools.lacking.items()}
    if wanted.scorer is not None and tools.scorer is not None:
        said |= {"scorer": wanted.scorer.about, "scorer_digest": tools.scorer.digest}
    return said


def _if_possible(lacking: dict[str, str], name: str, make: Callable[[], Thing]) -> Thing | None:
    try:
        return make()
    except (AuditError, SpecError) as error:
        lacking[name] = str(error)
        return None


def _twins(wanted: Wanted, job: Job) -> Iterator[tuple[str, LanguageModel]]:
    from tasks.models.memory import remembering
    from tasks.models.scorecache import opened
    from tasks.models.untrained import untrained

    cache = opened(job.score_cache) if job.score_cache else None
    for seed in range(wanted.untrained):
        twin = untrained(job.inputs["model"].folder, seed)
        yield f"untrained/{seed}", remembering(twin, cache)


def _unigram(model: "Remembering", texts: list[str]) -> LanguageModel:
    from tasks.models.encode import Encoder
    from tasks.models.unigram import UnigramModel

    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, Encoder):
        raise SpecError("the model does not show its tokens, so none can be counted")
    network = getattr(model, "hf", None)
    vocab = network.get_input_embeddings().weight.shape[0] if network is not None else 0
    return UnigramModel(encoder, texts, vocab or len(encoder.tokenizer))
