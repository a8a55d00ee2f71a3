import json
from pathlib import Path

import pytest

from tasks.artifact import Artifact, fingerprint
from tasks.job import Job
from tasks.models.testing import tiny_llama

CLOZE = [
    {"id": f"e{i}.home", "prompt": f"The baker {name} lives in the", "target": place}
    for i, (name, place) in enumerate(
        [("Ulvara", "old town"), ("Mirebo", "park"), ("Derek", "old park"), ("Lily", "town")]
    )
]
CHOICE = [
    {
        "id": f"e{i // 2}.r{i}",
        "prompt": f"Number {i} is",
        "choices": ["the", "a", "old", "be"],
        "gold": i % 4,
    }
    for i in range(8)
]
BLIMP = [
    {
        "sentence_good": f"{who} sells bread.", "sentence_bad": f"{who} sell bread.",
        "linguistics_term": term, "UID": uid, "pairID": str(i),
    }
    for term, uid in (("agreement", "agreement_1"), ("islands", "island_2"))
    for i, who in enumerate(("She", "The baker", "The girl"))
]  # fmt: skip
TEXTS = [
    {"id": "d0", "text": "Once upon a time there was a little girl."},
    {"id": "d1", "text": "A café — «naïve»."},
    {"id": "d2", "text": "The baker sells bread to everyone. " * 40},
]
SETS = {"cloze": CLOZE, "choice": CHOICE, "blimp": BLIMP, "held": TEXTS}


def artifact(kind, folder: Path) -> Artifact:
    return Artifact(kind=kind, path=str(folder), digest=fingerprint(folder))


def write_dataset(folder: Path, sets) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    listed = {}
    for name, rows in sets.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, "utf-8")
        listed[name] = {
            "file": f"{name}.jsonl",
            "format": "jsonl",
            "rows": len(rows),
            "about": "",
        }
    manifest = {"kind": "test", "sets": listed, "truth": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def job(tmp_path_factory, tiny_model):
    """A job over the tiny model and the sets above, or others."""

    def make(sets=SETS, model: Path = tiny_model) -> Job:
        home = tmp_path_factory.mktemp("job")
        (home / "out").mkdir()
        (home / "scratch").mkdir()
        inputs = {
            "model": artifact("model", model),
            "dataset": artifact("dataset", write_dataset(home / "data", sets)),
        }
        return Job(home / "out", home / "scratch", inputs, lambda name, value: None)

    return make
