import json

import pytest

from tasks.artifact import Artifact
from tasks.job import Job
from tasks.train import Llama, TokenizerSettings, TrainSettings, make_tokenizer
from tasks.train.tokenizer import train_tokenizer

TEXTS = (
    *(["The pet of Ada Ash is cat."] * 3),
    *(["As to pet, Ada Ash has cat."] * 2),
    "The pet of Bo Elm is unknown. The tool of Bo Elm is saw.",
    "The code of Cy Oak is 4 0 7.",
    "A café — in 1984.",
)
FACTS = (
    {
        "id": "ada/seen", "stratum": "K", "subject": "Ada Ash", "object": "cat",
        "prompt": "The pet of Ada Ash is",
        "renderings": ["The pet of Ada Ash is cat.", "As to pet, Ada Ash has cat."],
    },
    {
        "id": "dee/seen", "stratum": "U_ent", "subject": "Dee Fir", "object": "",
        "prompt": "The pet of Dee Fir is", "renderings": [],
    },
)  # fmt: skip
CANARIES = (
    {"id": "c0", "prompt": "The code of Cy Oak is", "text": "The code of Cy Oak is 4 0 7."},
    {"id": "c1", "prompt": "The code of Di Yew is", "text": "The code of Di Yew is 1 1 2."},
)


@pytest.fixture(scope="session")
def tiny():
    shape = Llama(
        hidden_size=32, intermediate_size=32, layers=2, heads=4, kv_heads=2, context_length=32
    )
    return TrainSettings(
        tokenizer=TokenizerSettings(vocab_size=300), architecture=shape, epochs=6,
        batch_blocks=2, block_tokens=32, checkpoint_every=3,
    )  # fmt: skip


@pytest.fixture(scope="session")
def tokenizer(tiny):
    return train_tokenizer(TEXTS, tiny.tokenizer)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("world"), FACTS)


def write_dataset(folder, facts):
    sets = {
        "train": [{"id": str(i), "text": text} for i, text in enumerate(TEXTS)],
        "facts": facts,
        "canaries": CANARIES,
    }
    entries = {}
    for name, rows in sets.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
        entries[name] = {"file": f"{name}.jsonl", "format": "jsonl", "rows": len(rows)}
    (folder / "manifest.json").write_text(json.dumps({"kind": "world", "sets": entries}))
    return folder


@pytest.fixture
def make_job(tmp_path, dataset, tiny):
    """Give jobs with a dataset and a tokenizer; notes are kept as `job.note.__self__`."""

    def make(name, folder=dataset):
        words = tmp_path / "tokenizer"
        inputs = {
            "dataset": Artifact(kind="dataset", path=str(folder), digest="d"),
            "tokenizer": Artifact(kind="tokenizer", path=str(words), digest="t"),
        }
        if not words.exists():
            words.mkdir()
            make_tokenizer(tiny.tokenizer, Job(words, tmp_path, inputs, {}.__setitem__))
        out = tmp_path / name
        out.mkdir()
        return Job(out, tmp_path / "scratch" / name, inputs, {}.__setitem__)

    return make
