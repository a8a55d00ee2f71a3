"""What does a version's card look like where models are shared? A Hugging Face README.

The front matter says in the hub's own terms what the model is and what it scored; intervals
have no place there and stand in the card below it.
"""

from typing import TYPE_CHECKING

from audits.evidence import Evidence, Measure
from registry import card
from registry.gate import Decision

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

README = "README.md"
TASK = "text-generation"
TAGS = ("assay",)


def render(subject: card.Subject, decision: Decision | None = None) -> str:
    """The README: YAML front matter with every measure there is, then the whole card.

    `about` may name the model on the hub that all began with (`base_model`).
    """
    from huggingface_hub import ModelCardData

    results = [_result(m, subject.evidence) for _, m in sorted(subject.measures.items())]
    began = subject.evidence.about.get("base_model")
    data = ModelCardData(
        # Without results the hub knows no such key.
        model_name=f"{subject.name} {subject.title}" if results else None,
        library_name=_library(subject.evidence),
        pipeline_tag=TASK,
        tags=list(TAGS),
        base_model=str(began) if began else None,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---\n\n{card.render(subject, decision)}"


def _library(evidence: Evidence) -> str:
    """What loads the files, as the hub names it."""
    recipe = evidence.about.get("recipe")
    last = recipe[-1] if isinstance(recipe, list) and recipe else {}
    is_gguf = isinstance(last, dict) and last.get("kind") == "gguf"
    return "gguf" if is_gguf else "transformers"


def _result(measure: Measure, evidence: Evidence) -> "EvalResult":
    """One measure: the part it comes from is the data set, the rest of its name the metric."""
    from huggingface_hub import EvalResult

    part, _, metric = measure.name.partition("/")
    return EvalResult(
        task_type=TASK,
        dataset_type=evidence.parts[part].kind,
        dataset_name=part,
        metric_type=metric,
        metric_name=measure.name,
        metric_value=measure.value,
        metric_args={"unit": measure.unit, "n": measure.n, "better": measure.better},
    )
