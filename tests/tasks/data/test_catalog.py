"""Do we get exactly the bytes the catalog means, or one sentence why not?"""

import functools
import hashlib
import http.server
import json
import os
import threading
from pathlib import Path

import pytest

from audits.errors import EvidenceError, SpecError, StageError
from tasks.data import SetsData, Source, catalog
from tasks.data.read import items
from tasks.data.sets import make_sets
from tasks.dataset import rows
from tasks.job import Job

SHARED = os.environ.get("ASSAY_DATA")
needs_data = pytest.mark.skipif(not SHARED, reason="ASSAY_DATA names no data folder")

COPA = catalog.entry("copa")


@pytest.fixture
def server(tmp_path):
    """Serve a folder on this machine as the place that sets are fetched from."""
    root = tmp_path / "upstream"
    root.mkdir()
    handler = functools.partial(
        type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": _silent}),
        directory=str(root),
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield root, f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def _silent(*_: object) -> None:
    return


def publish(root: Path, content: bytes) -> None:
    file = root / COPA.repo / COPA.revision / COPA.source
    file.parent.mkdir(parents=True)
    file.write_bytes(content)


@pytest.fixture
def small(monkeypatch):
    """A catalog of one set whose content the test knows."""
    content = b'{"query": "why"}\n'
    entry = COPA.model_copy(
        update={"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    )
    monkeypatch.setattr(catalog, "entries", lambda: (entry,))
    return content


@pytest.mark.parametrize("entry", catalog.entries(), ids=lambda e: e.name)
def test_every_entry_pins_revision_checksum_and_licence(entry):
    assert len(entry.sha256) == 64
    assert len(entry.revision) == 40
    assert entry.licence
    assert entry.rows > 0
    assert not Path(entry.file).is_absolute()
    assert ".." not in Path(entry.file).parts


def test_names_and_files_of_the_catalog_are_unique():
    for field in ("name", "file"):
        values = [getattr(entry, field) for entry in catalog.entries()]
        assert len(values) == len(set(values))
    assert {"tinystories", "wikitext2", "blimp", "crows_pairs"} <= {
        entry.name for entry in catalog.entries()
    }


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(SpecError, match=r"'tinystory'.*tinystories"):
        catalog.entry("tinystory")


def test_a_missing_set_says_where_we_looked_and_what_to_do(tmp_path):
    with pytest.raises(SpecError, match=r"copa\.jsonl.*assay data fetch copa.*ASSAY_DATA") as e:
        catalog.locate("copa", [tmp_path])
    assert str(tmp_path) in str(e.value)


def test_a_joined_set_says_how_to_make_it(tmp_path):
    with pytest.raises(SpecError, match=r"join data/\*\.jsonl of alexwarstadt/blimp"):
        catalog.fetch("blimp", tmp_path)


def test_altered_bytes_do_not_verify(tmp_path):
    file = tmp_path / COPA.file
    file.parent.mkdir()
    file.write_text("{}\n")
    with pytest.raises(EvidenceError, match="sha256"):
        catalog.locate("copa", [tmp_path])


def test_the_first_folder_that_has_a_set_wins(tmp_path, small):
    first, second = tmp_path / "empty", tmp_path / "full"
    file = second / COPA.file
    file.parent.mkdir(parents=True)
    file.write_bytes(small)
    assert catalog.locate("copa", [first, second]) == file


def test_a_fetched_set_is_verified_and_then_found(tmp_path, server, small):
    root, base = server
    publish(root, small)
    cache = tmp_path / "cache"
    file = catalog.fetch("copa", cache, base=base)
    assert file.read_bytes() == small
    assert catalog.locate("copa", [cache]) == file
    assert [p for p in cache.rglob("*") if p.is_file()] == [file]


@pytest.mark.parametrize("served", [b'{"query": "WHY"}\n', b"x" * 100])
def test_other_bytes_than_expected_leave_nothing_behind(tmp_path, server, small, served):
    root, base = server
    publish(root, served)
    with pytest.raises(EvidenceError):
        catalog.fetch("copa", tmp_path / "cache", base=base)
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


def test_a_failed_download_is_one_sentence(tmp_path, server, small):
    _, base = server
    with pytest.raises(StageError, match="could not be fetched"):
        catalog.fetch("copa", tmp_path / "cache", base=base)


@needs_data
@pytest.mark.parametrize("entry", catalog.entries(), ids=lambda e: e.name)
def test_every_entry_is_readable_where_its_file_is(entry, tmp_path):
    root = Path(str(SHARED))
    if not (root / entry.file).is_file():
        pytest.skip(f"{root} has no {entry.file}")
    from tasks.data.sets import gather

    found = gather("it", Source(name=entry.name), [root])
    assert len({row["id"] for row in found}) > 0
    if entry.format not in ("lines", "stories"):
        # BOLD counts people, not prompts; every other publisher counts rows.
        assert len(found) >= entry.rows


@needs_data
def test_the_catalog_knows_each_file_of_the_data_folder_as_its_own_list_does():
    listed = Path(str(SHARED)) / "MANIFEST.json"
    if not listed.is_file():
        pytest.skip(f"{SHARED} has no MANIFEST.json")
    known = {e.file: e for e in catalog.entries() if not (catalog.SHIPPED / e.file).is_file()}
    files = [f for f in json.loads(listed.read_text("utf-8")) if f["source_repo"]]
    models = [f for f in files if f["file"].startswith("models/")]
    assert len(files) - len(models) == len(known)
    for file in files:
        if file in models:
            continue
        entry = known[file["file"]]
        assert (entry.sha256, entry.bytes) == (file["sha256"], file["bytes"])
        assert (entry.repo, entry.revision) == (file["source_repo"], file["commit"])
        assert (entry.licence, entry.rows) == (file["licence"], file["rows"])
        assert entry.licence_verified == file["licence_verified"]


@needs_data
def test_mis_encoded_stories_are_found_and_dropped(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    notes: dict[str, object] = {}
    job = Job(out, tmp_path, {}, notes.__setitem__)
    sets = SetsData(sets={"stories": Source(name="tinystories")})
    make_sets(sets, job, roots=[Path(str(SHARED))])
    encoded = next(c for c in notes["checks"] if c["expectation"] == "well_encoded")
    assert encoded["unexpected_count"] == 87
    assert not any("â€" in str(row["text"]) for row in rows(out, "stories"))


def test_the_projects_own_sets_are_always_here(tmp_path):
    shipped = [e for e in catalog.entries() if (catalog.SHIPPED / e.file).is_file()]
    assert shipped
    for own in shipped:
        assert catalog.locate(own.name, ()) == catalog.fetch(own.name, tmp_path)
        assert own.licence == "Apache-2.0"
    assert len(shipped) == len(list(catalog.SHIPPED.iterdir()))


def test_prompts_of_one_template_differ_in_one_word():
    made = {}
    for row in items(catalog.locate("counterfactual_en", ()), "jsonl"):
        made.setdefault(row["template"], {})[row["group"]] = row["prompt"].split()
    assert len(made) == 100
    for pair in made.values():
        assert len(pair["female"]) == len(pair["male"])
        assert sum(a != b for a, b in zip(pair["female"], pair["male"], strict=True)) == 1
