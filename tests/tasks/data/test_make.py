"""From settings through a job to a sealed-ready dataset folder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from audits.errors import SpecError, StageError
from tasks import dataset
from tasks.artifact import fingerprint
from tasks.data import AnyData, SetsData, Source, Tier, WorldData, make_data, sources
from tasks.job import Job

TINY = WorldData(
    tiers=(Tier(copies=1, entities=8), Tier(copies=18, entities=8)),
    mystery=10,
    strangers=8,
    misfits=6,
    misfit_statements=4,
    background=2,
    occupations=9,
    occupation_sentences=10,
    canary_copies=(1, 4),
    canaries=3,
    canary_twins=6,
    heldout=30,
    calibration=4,
)


def job(folder: Path, notes: dict[str, object] | None = None) -> Job:
    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True)
    found = {} if notes is None else notes
    return Job(folder / "out", folder / "scratch", {}, found.__setitem__)


def test_a_world_becomes_a_dataset_that_states_its_truth(tmp_path, capfd):
    notes: dict[str, object] = {}
    make_data(TINY, job(tmp_path, notes))
    out = tmp_path / "out"
    manifest = dataset.manifest(out)
    assert manifest["kind"] == "world"
    texts, questions = ("train", "heldout", "calibration"), ("cloze", "choice")
    assert set(manifest["sets"]) == {*texts, *questions, "facts", "association", "canaries"}
    truth = manifest["truth"]
    train = dataset.rows(out, "train")
    assert truth["documents"] == len(train)
    assert truth["words"] == sum(len(text.split()) for text in dataset.texts(out, "train"))
    facts = dataset.rows(out, "facts")
    singles = [r for r in facts if (r["stratum"], r["form"], r["copies"]) == ("K", "seen", 1)]
    known = [r for r in facts if (r["stratum"], r["form"]) == ("K", "seen")]
    assert truth["monofact_share"] == len(singles) / len(known)
    stated = [fact for row in train for fact in row["facts"]]
    for row in known:
        assert stated.count(row["fact"]) == row["copies"]
    assert capfd.readouterr().out == ""  # stdout belongs to machines
    assert [c["success"] for c in notes["checks"]] == [True] * 6


def test_the_same_settings_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        make_data(TINY, job(tmp_path / name))
    other = TINY.model_copy(update={"seed": 1})
    make_data(other, job(tmp_path / "three"))
    one, two, three = (fingerprint(tmp_path / n / "out") for n in ("one", "two", "three"))
    assert one == two
    assert one != three


def test_a_corpus_of_ones_own_becomes_a_dataset(tmp_path):
    own = tmp_path / "own.txt"
    own.write_text("A first line.\n\nA third line.\n", "utf-8")
    settings = SetsData(sets={"train": Source(path=str(own))}, calibration="train")
    make_data(settings, job(tmp_path))
    out = tmp_path / "out"
    # Line 2 is blank, so it parts documents and is none.
    assert dataset.rows(out, "train") == [
        {"id": "line1", "text": "A first line."},
        {"id": "line3", "text": "A third line."},
    ]
    assert dataset.texts(out, "calibration") == dataset.texts(out, "train")


def test_bad_documents_are_dropped_and_named(tmp_path):
    own = tmp_path / "own.jsonl"
    texts = ["Fine as it is.", "She said â€œhelloâ€\u009d to him.", "Fine as it is."]
    rows = [{"id": f"d{at}", "text": text} for at, text in enumerate(texts)]
    own.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    make_data(SetsData(sets={"train": Source(path=str(own))}), job(tmp_path))
    kept = dataset.rows(tmp_path / "out", "train")
    assert [row["id"] for row in kept] == ["d0"]
    report = json.loads((tmp_path / "out" / "checks.json").read_text())
    dropped = {entry["expectation"]: entry["dropped"] for entry in report if entry["dropped"]}
    assert dropped == {"well_encoded": ["train/d1"], "not_repeated": ["train/d2"]}


def test_an_empty_document_stops_the_run_and_is_named(tmp_path):
    own = tmp_path / "own.jsonl"
    own.write_text('{"id": "a", "text": "Words."}\n{"id": "b", "text": "  "}\n', "utf-8")
    with pytest.raises(StageError, match=r"'not_empty'.*1 of 2.*train/b"):
        make_data(SetsData(sets={"train": Source(path=str(own))}), job(tmp_path))
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_failed_check_keeps_the_list_of_bad_documents_where_it_says(tmp_path):
    own = tmp_path / "own.jsonl"
    rows = [{"id": f"d{at}", "text": "" if at % 2 else f"Words {at}."} for at in range(40)]
    own.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    with pytest.raises(StageError, match="20 of 40") as caught:
        make_data(SetsData(sets={"train": Source(path=str(own))}), job(tmp_path))
    kept = tmp_path / "scratch" / "checks.json"  # out is removed when a stage fails
    assert f"{kept} lists every failing document" in str(caught.value)
    failing = {o["expectation"]: o["failing"] for o in json.loads(kept.read_text("utf-8"))}
    assert failing["not_empty"] == [f"train/d{at}" for at in range(1, 40, 2)]


def test_an_expectation_can_be_told_to_drop_or_to_stop(tmp_path):
    own = tmp_path / "own.jsonl"
    own.write_text('{"id": "a", "text": "Words."}\n{"id": "b", "text": ""}\n', "utf-8")
    sets = {"train": Source(path=str(own))}
    lenient = SetsData(sets=sets, effects={"not_empty": "drop"}, min_words=0)
    make_data(lenient, job(tmp_path / "lenient"))
    assert dataset.texts(tmp_path / "lenient" / "out", "train") == ["Words."]
    strict = SetsData(sets=sets, effects={"not_empty": "drop", "long_enough": "stop"})
    with pytest.raises(StageError, match="'long_enough'"):
        make_data(strict, job(tmp_path / "strict"))


def test_questions_of_other_sets_do_not_stay_in_training_text(tmp_path):
    asked = "Who lives in the house at the end of the lane?"
    (tmp_path / "train.txt").write_text(f"Plain text.\nQuiz: {asked} Nobody.\n", "utf-8")
    (tmp_path / "quiz.jsonl").write_text(json.dumps({"question": asked}), "utf-8")
    sets = {name: Source(path=str(tmp_path / file)) for name, file in
            (("train", "train.txt"), ("quiz", "quiz.jsonl"))}  # fmt: skip
    make_data(SetsData(sets=sets), job(tmp_path))
    assert dataset.texts(tmp_path / "out", "train") == ["Plain text."]
    assert dataset.rows(tmp_path / "out", "quiz") == [{"question": asked, "id": "0"}]


def test_a_set_that_loses_all_its_documents_stops_the_run(tmp_path):
    own = tmp_path / "own.txt"
    own.write_text("Ã©tÃ©\n", "utf-8")
    with pytest.raises(StageError, match=r"none of its documents \(1\) .*checks\.json"):
        make_data(SetsData(sets={"train": Source(path=str(own))}), job(tmp_path))
    assert (tmp_path / "scratch" / "checks.json").is_file()


def test_two_rows_of_one_id_are_refused(tmp_path):
    own = tmp_path / "own.jsonl"
    own.write_text('{"id": "a", "text": "One."}\n{"id": "a", "text": "Two."}\n', "utf-8")
    with pytest.raises(SpecError, match="'a' stands on two rows"):
        make_data(SetsData(sets={"train": Source(path=str(own))}), job(tmp_path))


def test_sources_change_when_a_users_file_does(tmp_path):
    own = tmp_path / "own.txt"
    settings = SetsData(sets={"train": Source(path=str(own))})
    own.write_text("One.", "utf-8")
    before = sources(settings, [])
    own.write_text("Two.", "utf-8")
    assert sources(settings, []) != before
    assert sources(TINY, []) == {}
    missing = SetsData(sets={"a": Source(name="blimp")})
    with pytest.raises(SpecError, match="not on this machine"):
        sources(missing, [tmp_path])


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"sets": {"a": {"name": "blimp", "path": "x.txt"}}}, "one of name"),
        ({"sets": {"a": {}}}, "one of name"),
        ({"sets": {}}, "at least 1"),
        ({"sets": {"a": {"name": "blimp"}}, "calibration": "b"}, "none of the sets"),
        ({"sets": {"a": {"name": "blimp"}}, "effects": {"not_empty": "ignore"}}, "drop"),
        ({"sets": {"../a": {"name": "blimp"}}}, "pattern"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(raw, said):
    with pytest.raises(ValidationError, match=said):
        SetsData.model_validate_json(json.dumps(raw))


def test_a_run_file_can_name_every_kind_of_data():
    any_data = TypeAdapter(AnyData)
    world = any_data.validate_json('{"kind": "world", "tiers": [{"copies": 2, "entities": 9}]}')
    assert world == WorldData(tiers=(Tier(copies=2, entities=9),))
    sets = any_data.validate_json('{"kind": "sets", "sets": {"a": {"name": "blimp"}}}')
    assert isinstance(sets, SetsData)
    with pytest.raises(ValidationError, match="differ"):
        WorldData(tiers=(Tier(copies=2, entities=9), Tier(copies=2, entities=1)))


def test_reading_settings_loads_nothing_heavy():
    code = (
        "import sys, tasks.data, tasks.dataset\n"
        "heavy = {'torch', 'transformers', 'pandas', 'great_expectations', 'scipy', 'mlflow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
