"""What exactly was judged? Every file, tag and number of a version, bound by one digest.

A seal is written with each publication and each decision; its digest stands in the history.
What was altered since is found by looking again (`differences`). A seal is made of what whoever
writes it has in hand and of the seal before, never of what stands in the registry: whatever
was altered there is not sealed by the next one.
"""

import hashlib
import json
import os
import platform
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from audits.errors import EvidenceError
from audits.settings import Settings
from registry import bundle, layout
from registry.finding import APPROVAL
from registry.gate import Decision
from registry.history import SEALED, Chain, Entry
from registry.store import Judgement, Snapshot

PACKAGES = ("audits", "flows", "registry", "tasks")
LIBRARIES = (
    "numpy", "scipy", "statsmodels", "pandas", "pyarrow", "scikit-learn", "fairlearn",
    "torch", "transformers", "lm-eval", "llmcompressor", "mlflow",
)  # fmt: skip
"""Those whose version may change a result."""

CLOSED = (layout.MODEL, layout.EVIDENCE, "run")
"""Folders to which nothing is added once they are sealed."""
OPEN = (
    layout.DECISIONS, layout.POLICIES, layout.SEALS, layout.SEAL, layout.SIGNATURE,
    "report.html",
)  # fmt: skip
"""What is written with or after a seal; decisions and policies have digests of their own."""


JUDGING = frozenset({
    f"file {layout.DECISION}", f"file {layout.POLICY}", f"file {layout.SEAL}",
    f"file {layout.CARD}", "tag assay.verdict", "tag assay.policy", "tag assay.judged_against",
    "the card",
})  # fmt: skip
"""What a judgement writes, and one that was broken off leaves behind; the next rewrites it."""


class Reference(Settings):
    """Another version as it stood when this one was judged; all empty: there was none."""

    version: str = ""
    weights: str = ""
    evidence: str = ""


class Seal(Settings):
    """A version as it was published or judged. Digests are sha256."""

    format: Literal[1] = 1
    model: str
    version: str
    weights: str
    evidence: str
    decision: str = ""
    policy: str = ""
    """Of the policy's file, like `decision`; both empty before it is judged."""
    parent: Reference = Reference()
    champion: Reference = Reference()
    spec: str = ""
    data: str = ""
    tokenizer: str = ""
    environment: dict[str, str]
    code: str
    """Of our own source files, which made the decision."""
    files: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]
    params: dict[str, str]
    description: str

    @property
    def text(self) -> str:
        """The seal as its file holds it."""
        plain = self.model_dump(mode="json")
        return json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @property
    def digest(self) -> str:
        """What the history holds of it."""
        return digest(self.text.encode())


def read(folder: Path, wanted: str) -> Seal:
    """The seal of a digest, kept among a run's artifacts.

    Raises:
        EvidenceError: it is missing or altered.
    """
    path = folder / layout.SEALS / f"{wanted[:12]}.json"
    try:
        raw = path.read_bytes()
        if digest(raw) != wanted:
            raise EvidenceError(
                f"{_short(path)}: it was altered, for the history says {wanted[:12]}; restore "
                "it from a backup"
            )
        return Seal.model_validate_json(raw)
    except OSError as error:
        raise EvidenceError(f"{_short(path)}: missing; restore it from a backup") from error
    except ValidationError as error:
        raise EvidenceError(f"{_short(path)}: not in a known format") from error


def judgement(folder: Path, entry: Entry) -> Judgement:
    """The decision that an entry of the history speaks of, from a run's artifacts.

    Raises:
        EvidenceError: it, its policy, its seal or its evidence is missing or altered.
    """
    seal = read(folder, entry.seal)
    decision = layout.kept(folder, layout.DECISIONS, seal.decision)
    return Judgement(
        Decision.from_json(decision, f"{layout.DECISIONS}/{seal.decision[:12]}.json"),
        layout.kept(folder, layout.POLICIES, seal.policy),
        bundle.records(folder / layout.EVIDENCE, seal.evidence),
        bundle.bases(folder / layout.EVIDENCE, seal.evidence),
        entry,
    )


def digests(folder: Path, skip: tuple[str, ...] = OPEN) -> dict[str, str]:
    """The digest of every file below a folder, by path; not those of the entries to skip."""
    return {
        path: digest_of(folder / path) for path in _files(folder) if _head(path) not in skip
    }


def digest_of(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(raw: bytes) -> str:
    """sha256 of bytes."""
    return hashlib.sha256(raw).hexdigest()


def sealed_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags a seal covers: ours, but not approvals, which carry the digest they approve."""
    ours = {k: v for k, v in tags.items() if k.startswith("assay.")}
    return {k: v for k, v in ours.items() if not k.startswith(APPROVAL)}


def environment() -> dict[str, str]:
    """The machine's kind and the libraries behind the numbers; no host name."""
    found = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def code() -> str:
    """Digest of every source file of ours that is installed."""
    whole = hashlib.sha256()
    for package in PACKAGES:
        spec = util.find_spec(package)
        for home in sorted(spec.submodule_search_locations or ()) if spec else ():
            for path in sorted(Path(home).rglob("*.py")):
                place = f"{package}/{path.relative_to(home).as_posix()}"
                whole.update(f"{place} {digest_of(path)}\n".encode())
    return whole.hexdigest()


def differences(seal: Seal, now: Snapshot, *, but: Collection[str] = ()) -> list[str]:
    """What was altered since a version was sealed: one sentence each; none where nothing.

    `but` names what is not looked at (`JUDGING`).
    """
    where = f"{seal.model}/{seal.version}"
    found = (
        *_changed_files(seal, now.folder),
        *_changed("tag", seal.tags, sealed_tags(now.version.tags)),
        *_changed("metric", seal.metrics, now.metrics),
        *_changed("param", seal.params, now.params),
        *_changed_card(seal, now),
    )
    return [f"{where}: {said}" for what, said in found if what not in but]


def other_model(chain: Chain, seal: Seal, folder: Path) -> list[str]:
    """Files of the model that a seal holds otherwise than the first one of its version.

    A version is its weights: what is published later adds evidence and no file of the model.

    Raises:
        EvidenceError: the first seal is missing or altered.
    """
    first = next(e for e in chain.entries if e.version == seal.version and e.kind in SEALED)
    was, now = (
        {path: held for path, held in one.files.items() if _head(path) == layout.MODEL}
        for one in (read(folder, first.seal), seal)
    )
    return [
        f"{seal.model}/{seal.version}: the file {path} is not what it was first published as; "
        "restore it from a backup"
        for path in sorted(was.keys() | now.keys())
        if was.get(path) != now.get(path)
    ]


Found = Iterator[tuple[str, str]]
"""What differs, and the sentence about it."""


def _changed_card(seal: Seal, now: Snapshot) -> Found:
    if digest(now.version.card.encode()) != seal.description:
        yield "the card", "the card in its description was altered; put it back"


def _changed_files(seal: Seal, folder: Path) -> Found:
    shown = {layout.SEAL: seal.digest} if seal.decision else {}
    for path, wanted in {**seal.files, **shown}.items():
        if not (folder / path).is_file():
            yield f"file {path}", f"the file {path} is missing; restore it from a backup"
        elif digest_of(folder / path) != wanted:
            yield f"file {path}", f"the file {path} was altered; restore it from a backup"
    for path in _files(folder):
        if _head(path) in CLOSED and path not in seal.files:
            yield f"file {path}", f"the file {path} was added after the seal; remove it"
    for path in _links(folder):
        if _head(path) in CLOSED or path in seal.files:
            said = f"{path} is a link to elsewhere, which was not sealed; put the file back"
            yield f"file {path}", said


def _changed(kind: str, sealed: Mapping[str, object], now: Mapping[str, object]) -> Found:
    for name, old in sealed.items():
        what = f"{kind} {name}"
        if name not in now:
            yield what, f"the {what} was removed; it was {_show(old)}"
        elif now[name] != old:
            said = f"from {_show(old)} to {_show(now[name])}; put it back"
            yield what, f"the {what} was altered {said}"
    for name in now.keys() - sealed.keys():
        yield f"{kind} {name}", f"the {kind} {name} was added after the seal; remove it"


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]}...{text[-14:]}"


def _files(folder: Path) -> list[str]:
    found = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return sorted(path for path in found if path != layout.LOADED)


def _links(folder: Path) -> list[str]:
    """Links, and whatever else is neither a file nor a folder; they are not followed."""
    return sorted(
        (Path(root) / name).relative_to(folder).as_posix()
        for root, folders, files in os.walk(folder)
        for name in (*folders, *files)
        if (held := Path(root) / name).is_symlink() or not (held.is_file() or held.is_dir())
    )


def _head(path: str) -> str:
    return path.partition("/")[0]


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
