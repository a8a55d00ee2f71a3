import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.errors import EvidenceError
from registry.history import Chain, Entry, anchored, replay


def entry(chain, kind="decision", version="1", **rest):
    return Entry(
        seq=len(chain.entries) + 1, at="2026-11-24T00:00:00Z", kind=kind, model="toy",
        version=version, weights=f"w{version}", evidence="e", before=chain.head, **rest,
    )  # fmt: skip


def grown(*steps):
    """Records of a chain: each step is (kind, version, replaces)."""
    records = []
    for kind, version, replaces in steps:
        new = entry(replay("toy", records), kind, version, replaces=replaces)
        records.append((len(records) + 1, new.text))
    return records


STORY = grown(
    ("decision", "1", ""), ("promotion", "1", ""), ("approval", "2", ""),
    ("promotion", "2", "1"), ("promotion", "3", "2"), ("rollback", "2", "3"),
)  # fmt: skip


def test_entries_that_follow_one_another_form_a_chain():
    chain = replay("toy", STORY)
    assert [e.seq for e in chain.entries] == [1, 2, 3, 4, 5, 6]
    assert chain.head == chain.entries[-1].digest
    assert chain.champion == "2"
    assert not chain.lost
    assert replay("toy", []) == Chain("toy")
    assert replay("toy", []).champion is None


def test_going_back_twice_goes_back_two_versions():
    # 1, then 2, then 3, back to 2: what stood before 2 is 1, though 2 just replaced 3.
    chain = replay("toy", STORY)
    assert (chain.move.replaces, chain.before("2"), chain.before("1")) == ("3", "1", "")


def test_of_two_that_follow_one_head_the_first_stays_and_the_other_lost():
    chain = replay("toy", STORY)
    one, other = entry(chain, "promotion", "4"), entry(chain, "promotion", "5")
    after = replay("toy", [*STORY, (7, one.text), (8, other.text)])
    assert after.champion == "4"
    assert after.lost == ((8, other),)
    assert after.numbers == (1, 2, 3, 4, 5, 6, 7)
    # What comes next follows the winner, past the one that lost.
    later = entry(after, "promotion", "6")
    assert (
        replay("toy", [*STORY, (7, one.text), (8, other.text), (9, later.text)]).champion == "6"
    )


@pytest.mark.parametrize("gone", range(len(STORY) - 1))
def test_a_removed_entry_is_named(gone):
    with pytest.raises(
        EvidenceError, match=rf"it follows entry {gone + 1} .* missing or altered"
    ):
        replay("toy", STORY[:gone] + STORY[gone + 1 :])


def test_a_removed_tail_shows_against_an_anchor():
    whole = replay("toy", STORY)
    cut = replay("toy", STORY[:-1])
    assert anchored(whole, {"here": whole.anchor, "there": cut.anchor}) == []
    (said,) = anchored(cut, {"here": whole.anchor, "there": cut.anchor})
    assert "here remembers entry 6" in said
    assert "removed or altered" in said


@pytest.mark.parametrize("anchor", ["x", "0 x", "6", "6 ", "99 x", "-1 x", "² x"])
def test_an_anchor_that_is_none_is_not_held(anchor):
    assert not replay("toy", STORY).holds(anchor)


def altered(text, **changes):
    return json.dumps({**json.loads(text), **changes}, sort_keys=True)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda t: "", "no entry in a known format"),
        (lambda t: t[:-3], "no entry in a known format"),
        (lambda t: t + " ", "not spelled as it was written"),
        (lambda t: t.replace(": ", ":"), "not spelled as it was written"),
        (lambda t: altered(t, model="other"), "it is about other"),
        (lambda t: altered(t, extra=1), "no entry in a known format"),
        (lambda t: altered(t, seq=9), "calls itself entry 9"),
        (lambda t: altered(t, before="0" * 64), "missing or altered"),
    ],
)
def test_an_entry_that_was_tampered_with_is_refused(harm, says):
    records = [(n, harm(t) if n == 4 else t) for n, t in STORY]
    with pytest.raises(EvidenceError, match=says) as refused:
        replay("toy", records)
    assert "version 4" in str(refused.value) or "version 5" in str(refused.value)


@given(
    at=st.integers(0, len(STORY) - 1),
    field=st.sampled_from(["version", "weights", "verdict", "by", "note", "at", "replaces"]),
    value=st.text(max_size=5),
)
def test_no_altered_field_goes_unnoticed(at, field, value):
    whole = replay("toy", STORY)
    number, text = STORY[at]
    held = json.loads(text)
    if held[field] == value:
        return
    new = Entry.model_validate({**held, "waivers": (), field: value}).text
    records = [*STORY[:at], (number, new), *STORY[at + 1 :]]
    with contextlib.suppress(EvidenceError):
        assert anchored(replay("toy", records), {"anchor": whole.anchor})


def test_only_a_publication_makes_a_version_of_some_weights():
    """Whose weights an approval is about, a tag said."""
    chain = replay("toy", [(1, entry(Chain("toy"), "approval", "2").text)])
    assert chain.versions_of("w2") == []
    published = entry(chain, "publication", "2").text
    chain = replay("toy", [(1, chain.entries[0].text), (2, published)])
    assert chain.versions_of("w2") == ["2"]
