"""From a dataset and a tokenizer to a trained model that says what it has seen."""

import json
import shutil
from typing import TYPE_CHECKING

from tasks import dataset
from tasks.job import Job
from tasks.models.quiet import quiet
from tasks.train.settings import TrainSettings
from tasks.train.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from tasks.train.loop import Trained

PROBE_SETS = ("facts", "canaries")
CURVE_POINTS = 200


def make_model(settings: TrainSettings, job: Job) -> None:
    """Train on the dataset's `train` set and fill `job.out` with a Hugging Face folder.

    Beside weights and tokenizer stand `training.json` (steps, tokens, the loss curve) and,
    where the dataset has probe sets, `membership.json`: for every row id how often its
    statement stood in the packed training stream, all epochs together. Times and threads
    are noted beside the content, so equal inputs give an equal digest.

    Raises:
        StageError: Training failed, or a row of a probe set cannot be counted.
    """
    import torch
    from tqdm import tqdm

    from tasks.train.loop import train_model
    from tasks.train.membership import count_rows, read_stream

    folder = job.inputs["dataset"].folder
    tokenizer = load_tokenizer(job.inputs["tokenizer"].folder)
    with tqdm(desc="train", unit="step", dynamic_ncols=True, mininterval=1) as bar:

        def progress(done: int, total: int, loss: float) -> None:
            bar.total = total
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            bar.update(done - bar.n)

        trained = train_model(
            dataset.texts(folder, "train"), tokenizer, settings, job.scratch / "steps", progress
        )
    with quiet():
        trained.model.save_pretrained(str(job.out))
    for file in sorted(job.inputs["tokenizer"].folder.iterdir()):
        shutil.copyfile(file, job.out / file.name)
    rows = [
        r
        for name in PROBE_SETS
        if dataset.has(folder, name)
        for r in dataset.rows(folder, name)
    ]
    if rows:
        counted = count_rows(rows, read_stream(trained.stream, tokenizer))
        _write(job, "membership.json", counted)
    _write(job, "training.json", _facts(trained, settings))
    job.note("seconds_training", trained.seconds)
    if trained.seconds:
        job.note("tokens_per_second", _tokens(trained) / trained.seconds)
    job.note("threads", torch.get_num_threads())


def _facts(trained: "Trained", settings: TrainSettings) -> dict[str, object]:
    """What training did; the curve holds the mean loss of equal stretches of steps."""
    steps = len(trained.losses)
    stretch = max(1, steps // CURVE_POINTS)
    starts = range(0, steps, stretch)
    means = [_mean(trained.losses[at : at + stretch]) for at in starts]
    return {
        "parameters": trained.model.num_parameters(),
        "steps": steps,
        "epochs": settings.epochs,
        "tokens": _tokens(trained),
        "blocks": len(trained.stream),
        "loss_unit": "nats per token",
        "final_loss": means[-1] if means else None,
        "curve": [
            {"step": min(at + stretch, steps), "loss": m}
            for at, m in zip(starts, means, strict=True)
        ],
    }


def _tokens(trained: "Trained") -> int:
    return int((trained.stream >= 0).sum())


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values)


def _write(job: Job, name: str, content: object) -> None:
    (job.out / name).write_text(json.dumps(content, indent=1), "utf-8")
