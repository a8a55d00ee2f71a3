from collections.abc import Mapping
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from audits.errors import SpecError
from audits.settings import Settings
from registry.documents import LARGEST, read_yaml, validate


class One(Settings):
    kind: Literal["one"] = "one"
    x: float


class Two(Settings):
    kind: Literal["two"] = "two"
    inner: One | None = None


class Sheet(Settings):
    name: str = ""
    items: tuple[Annotated[One | Two, Field(discriminator="kind")], ...] = ()
    by_name: Mapping[str, One] = Field(default_factory=dict)


@pytest.fixture
def document(tmp_path):
    def read(text):
        path = tmp_path / "d.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_yaml(path)

    return read


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4e-3", 0.004), ("1e5", 1e5), (".5", 0.5), ("1_000", 1000), ("-3", -3), ("0", 0),
        ("010", "010"), ("1:30", "1:30"), ("2026-01-01", "2026-01-01"), ("no", "no"),
        ("true", True), ("null", None), ("~", None), ("'5'", "5"),
    ],
)  # fmt: skip
def test_scalars_mean_what_they_look_like(document, text, value):
    found = document(f"a: {text}")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2", "line 4: the key 'c' is given twice (first in line 3)"),
        ("a: &x 1\nb: *x", "line 2: aliases"),
        ("1: x", "line 1: the key '1' is not text: put it in quotes"),
        ("a: [", "line 1"),
        ("a: 1\n---\nb: 2", "another document"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        (b"a: \xff", "byte 3 is not UTF-8"),
        ("[" * 5000, "not a YAML document"),
        ("a" * (LARGEST + 1), "too large"),
    ],
)
def test_what_is_no_plain_document_is_refused_with_its_line(document, text, says):
    with pytest.raises(SpecError) as refused:
        document(text)
    assert says in str(refused.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SpecError, match=r"nowhere\.yaml: cannot be read"):
        read_yaml(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ({"items": [{"kind": "one"}]}, "items[0].x: this key is missing"),
        ({"items": [{"kind": "one", "x": 1, "y": 2}]}, "items[0].y: unknown key; known keys"),
        ({"items": [{"kind": "two", "inner": {"x": "a"}}]}, "items[0].inner.x: 'a' is refused"),
        ({"items": [{"kind": "two", "inner": {"z": 1, "x": 1}}]}, "known keys: kind, x"),
        ({"by_name": {"n": {"x": 1, "q": 1}}}, "by_name.n.q: unknown key"),
        ({"items": {"a": 1}}, "items: {'a': 1} is refused"),
        ({"items": [3]}, "items[0]"),
        ([1], "holds [1] where keys and values belong; known keys: by_name, items, name"),
    ],
)  # fmt: skip
def test_mistakes_are_found_at_the_place_their_writer_knows(given_, says):
    with pytest.raises(SpecError) as refused:
        validate(Sheet, given_, "sheet.yaml")
    assert says in str(refused.value)
    assert str(refused.value).startswith("sheet.yaml: ")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["name", "items", "by_name", "x"]), plain))
def test_any_document_gives_settings_or_one_refusal(given_):
    try:
        assert isinstance(validate(Sheet, given_, "d"), Sheet)
    except SpecError as refused:
        assert str(refused)  # noqa: PT017 - either outcome is right, a crash is not
