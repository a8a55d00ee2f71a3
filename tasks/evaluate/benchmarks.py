"""Run lm-eval's tasks on a model of ours, and keep every logged sample."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audits.errors import SpecError
from tasks.evaluate.finding import Finder, Found
from tasks.evaluate.records import Outcome, outcome
from tasks.evaluate.settings import EvaluateSettings
from tasks.evaluate.table import Results

if TYPE_CHECKING:
    from audits.model import LanguageModel

DRAWS = 1000
"""Resamples of a standard error that has no closed form; lm-eval's own default is 100,000."""


def run_tasks(
    settings: EvaluateSettings,
    model: "LanguageModel",
    folder: Path | None,
    scratch: Path,
    context: Mapping[str, str],
) -> tuple[Results, list[Outcome]]:
    """lm-eval's results, and one outcome for each requested task in order.

    Args:
        settings: what to run.
        model: whom to ask.
        folder: the dataset whose sets tasks may read.
        scratch: where copies of sets and the caches of `datasets` go.
        context: files of the data catalog and revisions of the hub, as `outside` gives them.
    """
    if not settings.tasks:
        return {}, []
    import lm_eval

    from tasks.models.harness import HarnessModel

    with _hushed():
        finder = Finder(settings, folder, scratch, context)
        found = [finder.find(name) for name in settings.tasks]
        _require_once(found)
        asked = HarnessModel(model, seed=settings.seed)
        results = lm_eval.simple_evaluate(
            model=asked,
            tasks=[built for task in found for built in task.built],
            task_manager=finder.mine,
            num_fewshot=settings.num_fewshot,
            limit=settings.limit,
            bootstrap_iters=DRAWS,
            log_samples=True,
            system_instruction=settings.system_instruction,
            apply_chat_template=settings.apply_chat_template,
            fewshot_as_multiturn=settings.fewshot_as_multiturn,
            random_seed=settings.seed,
            numpy_random_seed=settings.seed,
            torch_random_seed=settings.seed,
            fewshot_random_seed=settings.seed,
        )
    samples = results["samples"]
    lost = asked.truncated
    return results, [outcome(task, samples, settings.metrics, lost) for task in found]


def _require_once(found: Sequence[Found]) -> None:
    """Refuse a task that stands alone and in a group: its documents would count twice."""
    whose: dict[str, str] = {}
    for task in found:
        for leaf in task.leaves:
            if leaf.name in whose:
                raise SpecError(
                    f"evaluate: the documents of {leaf.name!r} are asked by both "
                    f"{whose[leaf.name]!r} and {task.name!r}; leave one of them out"
                )
            whose[leaf.name] = task.name


@contextmanager
def _hushed() -> Iterator[None]:
    """Silence the bars and log lines of lm-eval and `datasets`; ours remain.

    Also spares lm-eval's look at the machine (it runs pip and git, and git complains outside
    a checkout): conditions are recorded with the part. Standard errors are resampled in this
    process: lm-eval forks one for every core, prints to stdout, and gets the same numbers.
    """
    import datasets
    from lm_eval import evaluator
    from lm_eval.api import metrics
    from lm_eval.api import task as lm_task

    from tasks.models.quiet import quiet

    bars, bar = datasets.is_progress_bar_enabled(), lm_task.tqdm
    look, commit = evaluator.add_env_info, evaluator.get_git_commit_hash
    resample = metrics.bootstrap_stderr
    datasets.disable_progress_bars()
    lm_task.tqdm = partial(bar, disable=True)
    evaluator.add_env_info = lambda storage: None
    evaluator.get_git_commit_hash = lambda: None
    metrics.bootstrap_stderr = _bootstrap_stderr
    try:
        with quiet():
            yield
    finally:
        lm_task.tqdm, metrics.bootstrap_stderr = bar, resample
        evaluator.add_env_info, evaluator.get_git_commit_hash = look, commit
        if bars:
            datasets.enable_progress_bars()


def _bootstrap_stderr(
    statistic: Callable[[Sequence[Any]], float], values: Sequence[Any], iters: int
) -> float:
    """lm-eval's bootstrap standard error, from its own draws in its own order."""
    from lm_eval.api import metrics

    size = min(1000, iters)
    worker = metrics._bootstrap_internal(statistic, size)
    drawn = [value for seed in range(iters // size) for value in worker((seed, values))]
    return float(metrics.sample_stddev(drawn))
