"""How does a file that a person wrote become settings, or one sentence saying why not?"""

import difflib
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import yaml
from pydantic import ValidationError

from audits.errors import SpecError
from audits.settings import Settings

S = TypeVar("S", bound=Settings)
LARGEST = 1_000_000
"""Bytes; what people write by hand is far smaller."""


class _Reader(yaml.SafeLoader):
    """YAML's safe subset, less what surprises people: doubled keys and aliases."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse aliases: a few lines of them can expand without end."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call] # PyYAML's stubs
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not supported: write the value out",
                problem_mark=mark,
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that is given twice or is no text."""
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.tag != "tag:yaml.org,2002:str":
                raise yaml.MarkedYAMLError(
                    problem=f"the key {_spelling(key)} is not text: put it in quotes",
                    problem_mark=key.start_mark,
                )
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} is given twice (first in line "
                    f"{seen[key.value]}): remove one",
                    problem_mark=key.start_mark,
                )
            seen[key.value] = line
        return super().construct_mapping(node, deep)


def _spelling(node: yaml.Node) -> str:
    return repr(node.value) if isinstance(node, yaml.ScalarNode) else "here"


# The scalars of YAML 1.2: in 1.1 `no` is false, 010 is 8, 1:30 is 90, 4e-3 is text and
# 2026-01-01 is no JSON.
_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:(?:[0-9][0-9_]*\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+"
        r"|\.inf|\.nan)",
        list("-+.0123456789"),
    ),
)
_Reader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in _SCALARS:
    _Reader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), _first
    )


def read_yaml(path: Path) -> object:
    """The document in a YAML file, as JSON would have it.

    Raises:
        SpecError: no such regular file, not UTF-8, not one YAML document, or a key given twice.
    """
    if path.exists() and not path.is_file():  # to read a pipe or a device may never end
        raise SpecError(f"{path}: is no regular file; give the path of a YAML file")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if len(raw) > LARGEST:
        raise SpecError(f"{path}: {len(raw):,} bytes is too large; at most {LARGEST:,}")
    try:
        return yaml.load(raw.decode("utf-8"), Loader=_Reader)
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise SpecError(f"{path}{line}: {error.problem or 'not YAML'}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpecError(f"{path}: not a YAML document, {error}") from error


def validate(model: type[S], document: object, where: str) -> S:
    """Settings from a document, validated as JSON: "0.5" is no number, a list may be a tuple.

    Raises:
        SpecError: one line per mistake, each with its place, the value and what is allowed.
    """
    if not isinstance(document, dict):
        raise SpecError(
            f"{where}: holds {_show(document)} where keys and values belong; "
            f"known keys: {_list(_keys(model))}"
        )
    try:
        text = json.dumps(document)
    except (TypeError, ValueError) as error:
        raise SpecError(f"{where}: cannot be read as JSON, {error}") from error
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        mistakes = _own([_Mistake.of(fault) for fault in error.errors()])
        lines = dict.fromkeys(_sentence(mistake, model, document) for mistake in mistakes)
        raise SpecError("\n".join(f"{where}: {line}" for line in lines)) from None


class _Mistake(NamedTuple):
    kind: str
    place: tuple[str | int, ...]
    value: object
    message: str
    context: Mapping[str, Any]

    @classmethod
    def of(cls, fault: Mapping[str, Any]) -> "_Mistake":
        return cls(
            fault["type"], fault["loc"], fault["input"], fault["msg"], fault.get("ctx", {})
        )


def _own(mistakes: Sequence[_Mistake]) -> list[_Mistake]:
    """Without "too few items" where the items themselves are what is wrong."""
    return [
        m
        for m in mistakes
        if m.kind != "too_short"
        or not any(
            len(o.place) > len(m.place) and o.place[: len(m.place)] == m.place for o in mistakes
        )
    ]


def _sentence(mistake: _Mistake, model: type[Settings], document: object) -> str:
    place = _dotted(mistake.place, document)
    match mistake.kind:
        case "extra_forbidden":
            known = _keys(_at(model, mistake.place[:-1]))
            unknown = str(mistake.place[-1])
            return f"{place}: unknown key{_suggest(unknown, known)}; known keys: {_list(known)}"
        case "missing":
            return f"{place}: this key is missing; add it"
        case "union_tag_invalid":
            tag = str(mistake.context["tag"])
            known = str(mistake.context["expected_tags"]).replace("'", "").split(", ")
            return f"{place}: {tag!r} is not known{_suggest(tag, known)}; one of {_list(known)}"
        case "union_tag_not_found":
            key = str(mistake.context["discriminator"]).strip("'")
            known = _tags(_annotation_at(model, mistake.place))
            return f"{place}: {key} is missing; one of {_list(known)}"
        case "value_error" | "assertion_error":
            return f"{place}: {mistake.context.get('error', mistake.message)}"
        case _:
            return f"{place}: {_show(mistake.value)} is refused; {_plain(mistake.message)}"


def _dotted(place: Iterable[str | int], document: object) -> str:
    """The path as the writer sees it: without the names of union members pydantic adds."""
    words: list[str] = []
    here: object = document
    steps = list(place)
    for i, step in enumerate(steps):
        inside = _step(here, step)
        if inside is _NOWHERE and i + 1 < len(steps):
            continue  # the tag of a union member
        here = inside
        words.append(f"[{step}]" if isinstance(step, int) else f".{step}" if words else step)
    return "".join(words) or "the file"


_NOWHERE = object()


def _step(here: object, step: str | int) -> object:
    if isinstance(here, dict) and step in here:
        return here[step]
    if isinstance(here, list) and isinstance(step, int) and step < len(here):
        return here[step]
    return _NOWHERE


def _at(model: type[Settings], place: Sequence[str | int]) -> type[Settings] | None:
    """The settings class at a place, or None."""
    found = _annotation_at(model, place)
    return found if isinstance(found, type) and issubclass(found, Settings) else None


def _annotation_at(model: object, place: Sequence[str | int]) -> object:
    here = model
    for step in place:
        here = _inner(here, step)
    return _bare(here)


def _inner(here: object, step: str | int) -> object:
    here = _bare(here)
    if isinstance(here, type) and issubclass(here, Settings):
        field = here.model_fields.get(str(step))
        return field.annotation if field else None
    if _is_union(here):
        return next((m for m in _members(here) if step in _kinds(m)), None)
    inside = typing.get_args(here)
    return inside[-1 if isinstance(step, str) else 0] if inside else None


def _bare(here: object) -> object:
    while typing.get_origin(here) is Annotated:
        here = typing.get_args(here)[0]
    # `X | None` is X to whoever writes one.
    if _is_union(here):
        rest = [m for m in _members(here) if m is not type(None)]
        return _bare(rest[0]) if len(rest) == 1 else here
    return here


def _is_union(here: object) -> bool:
    return typing.get_origin(here) in (typing.Union, types.UnionType)


def _members(union: object) -> list[object]:
    found: list[object] = []
    for member in typing.get_args(union):
        inner = member
        while typing.get_origin(inner) is Annotated:
            inner = typing.get_args(inner)[0]
        found += _members(inner) if _is_union(inner) else [inner]
    return found


def _kinds(member: object) -> tuple[str, ...]:
    field = getattr(member, "model_fields", {}).get("kind")
    return typing.get_args(field.annotation) if field else ()


def _tags(union: object) -> list[str]:
    return [kind for member in _members(union) for kind in _kinds(member)]


def _keys(model: type[Settings] | None) -> list[str]:
    return sorted(model.model_fields) if model else []


def _suggest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _list(words: Sequence[str]) -> str:
    return ", ".join(words) if words else "none"


def _show(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _plain(message: str) -> str:
    """Pydantic's message in words of a file: there are no tuples in YAML."""
    words = message.replace("Tuple", "a list").replace(" after validation", "")
    return words[:1].lower() + words[1:]
