"""The cache on disk forgets at worst: it is bounded, shared, and never gives another value."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from multiprocessing import get_context

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.models.scorecache import ROWS, ScoreCache

keys = st.binary(min_size=20, max_size=20)


def key(number):
    return number.to_bytes(20, "big")


@pytest.fixture
def said():
    return []


@pytest.fixture
def cache(tmp_path, said):
    made = ScoreCache(tmp_path / "scores", say=said.append)
    yield made
    made.close()


def size(folder):
    return sum(file.stat().st_size for file in folder.iterdir())


def fill(folder, first, n, rounds=20):
    """What a second process does: write its own answers, and read back its and the other's."""
    cache = ScoreCache(folder)
    for at in range(rounds):
        mine = {key(first + at * n + i): b"%d" % (first + at * n + i) for i in range(n)}
        cache.put(mine)
        assert cache.get(list(mine)) == mine
    cache.close()


def test_what_was_put_is_got_and_nothing_else(cache, said):
    cache.put({key(1): b"one", key(2): b"two"})
    assert cache.get([key(2), key(3)]) == {key(2): b"two"}
    assert said == []


def test_the_first_answer_stays(cache):
    cache.put({key(1): b"first"})
    cache.put({key(1): b"second"})
    assert cache.get([key(1)]) == {key(1): b"first"}


@settings(max_examples=25, deadline=None)
@given(batches=st.lists(st.dictionaries(keys, st.binary(max_size=30), max_size=6), max_size=6))
def test_it_behaves_as_a_dictionary_that_keeps_what_it_has(tmp_path_factory, batches):
    cache = ScoreCache(tmp_path_factory.mktemp("scores"))
    plain: dict[bytes, bytes] = {}
    for batch in batches:
        cache.put(batch)
        plain = batch | plain
        assert cache.get(list(plain)) == plain
    cache.close()


def test_many_answers_come_back(cache):
    many = {key(i): b"[%d]" % i for i in range(2 * ROWS + 1)}
    cache.put(many)
    assert cache.get(list(many)) == many


def test_another_process_reads_what_one_wrote(cache, tmp_path):
    cache.put({key(7): b"seven"})
    code = (
        "import sys, pathlib\n"
        "from tasks.models.scorecache import ScoreCache\n"
        "print(ScoreCache(pathlib.Path(sys.argv[1])).get([(7).to_bytes(20, 'big')]))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "scores")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "seven" in said.stdout


def test_two_processes_write_at_once(tmp_path, said):
    """Both begin with no file there, write different and equal keys, and lose nothing."""
    folder = tmp_path / "scores"
    processes = [
        get_context("spawn").Process(target=fill, args=(folder, first, 300))
        for first in (0, 3000)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    cache = ScoreCache(folder, say=said.append)
    wanted = {key(i): b"%d" % i for i in range(9000)}
    assert cache.get(list(wanted)) == wanted
    assert said == []


def test_what_takes_too_much_room_lets_the_oldest_go(tmp_path, said):
    bound = 2**20
    cache = ScoreCache(tmp_path, most_bytes=bound, say=said.append)
    n, batch = 30_000, 1000  # some 200 bytes each: six times the room
    for start in range(0, n, batch):
        cache.put({key(i * 7919 % n): b"x" * 100 for i in range(start, start + batch)})
        assert size(tmp_path) <= bound
    held = cache.get([key(i * 7919 % n) for i in range(n)])
    newest = [key(i * 7919 % n) for i in range(n - batch, n)]
    assert len(held) > 2 * batch
    assert set(newest) <= set(held)
    assert key(0) not in held
    assert said == []
    cache.close()


def test_a_value_larger_than_its_share_of_the_room_is_not_kept(tmp_path, said):
    cache = ScoreCache(tmp_path, most_bytes=2**20, say=said.append)
    cache.put({key(1): b"x" * 2**18, key(2): b"y"})
    assert cache.get([key(1), key(2)]) == {key(2): b"y"}
    assert said == []


def test_a_file_that_is_no_database_is_set_aside_with_one_line(tmp_path, said):
    (tmp_path / "scores-1.sqlite").write_bytes(b"no database at all" * 1000)
    cache = ScoreCache(tmp_path, say=said.append)
    assert cache.get([key(1)]) == {}
    cache.put({key(1): b"one"})
    assert cache.get([key(1)]) == {key(1): b"one"}
    assert len(said) == 1
    assert "scores-1.sqlite is damaged and set aside" in said[0]
    assert (tmp_path / "scores-1.sqlite").read_bytes().startswith(b"no database")


def test_a_value_altered_on_disk_is_no_answer(tmp_path, said):
    """SQLite itself does not notice a flipped bit inside a value."""
    cache = ScoreCache(tmp_path, say=said.append)
    cache.put({key(i): b"[-1.5,%d]" % i for i in range(100)})
    cache.close()
    file = tmp_path / "scores-1.sqlite"
    held = file.read_bytes()
    assert held.count(b"[-1.5,42]") == 1
    file.write_bytes(held.replace(b"[-1.5,42]", b"[-9.5,42]"))
    assert cache.get([key(42)]) == {}
    assert len(said) == 1
    assert "damaged" in said[0]


def test_pages_overwritten_while_in_use_give_no_wrong_answer(tmp_path, said):
    cache = ScoreCache(tmp_path, say=said.append)
    wanted = {key(i): b"[%d]" % i for i in range(20_000)}
    cache.put(wanted)
    cache.close()
    file = tmp_path / "scores-1.sqlite"
    held = bytearray(file.read_bytes())
    for page in range(2, len(held) // 4096, 3):
        held[page * 4096 : page * 4096 + 2048] = os.urandom(2048)
    file.write_bytes(held)
    found = cache.get(list(wanted))
    assert all(wanted[k] == value for k, value in found.items())
    cache.put(wanted)
    assert cache.get(list(wanted)) == wanted
    assert len(said) == 1


def test_only_the_last_damaged_file_stays(tmp_path, said):
    for number in (1, 2, 3):
        (tmp_path / f"scores-{number}.sqlite").write_bytes(b"damaged" * 1000)
        cache = ScoreCache(tmp_path, say=said.append)
        cache.put({key(1): b"one"})
        assert cache.get([key(1)]) == {key(1): b"one"}
        cache.close()
        (tmp_path / f"scores-{number + 1}.sqlite").unlink()
    names = {f.name for f in tmp_path.glob("*.sqlite")}
    assert names == {"scores-3.sqlite"}


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path, said):
    (tmp_path / "scores").write_text("a file where the folder should be")
    cache = ScoreCache(tmp_path / "scores", say=said.append)
    assert cache.get([key(1)]) == {}
    cache.put({key(1): b"one"})
    assert cache.get([key(1)]) == {}
    assert len(said) == 1
    assert "cannot be used" in said[0]


def test_a_process_killed_while_writing_leaves_whole_answers(tmp_path, said):
    code = (
        "import sys, pathlib\n"
        "from tasks.models.scorecache import ScoreCache\n"
        "cache, at = ScoreCache(pathlib.Path(sys.argv[1])), 0\n"
        "while True:\n"
        "    some = range(at, at + 2000)\n"
        "    cache.put({i.to_bytes(20, 'big'): b'%d' % i for i in some})\n"
        "    at += 2000\n"
        "    print(at, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    for _ in range(5):
        committed = int(process.stdout.readline())
    time.sleep(0.01)  # somewhere inside a transaction
    process.send_signal(signal.SIGKILL)
    process.wait()
    cache = ScoreCache(tmp_path, say=said.append)
    wanted = {key(i): b"%d" % i for i in range(committed)}
    assert cache.get(list(wanted)) == wanted
    beyond = cache.get([key(i) for i in range(committed, committed + 50_000)])
    assert len(beyond) % 2000 == 0, "a transaction is there whole or not at all"
    assert all(value == b"%d" % int.from_bytes(k, "big") for k, value in beyond.items())
    with sqlite3.connect(tmp_path / "scores-1.sqlite") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert said == []
