"""What passes between stages: small frozen handles to sealed content, never models."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from audits.errors import EvidenceError
from audits.settings import Settings

Kind = Literal["dataset", "tokenizer", "model", "part", "receipt"]


class Artifact(Settings):
    """A directory that never changes, known by the digest of its content.

    `path` is where it lies on this machine and is not part of its identity.
    """

    kind: Kind
    path: str
    digest: str
    parents: tuple[str, ...] = ()
    stage: str = ""
    key: str = ""

    @property
    def folder(self) -> Path:
        """The directory with the content."""
        return Path(self.path)


def fingerprint(path: Path) -> str:
    """Digest of a file or tree: names and bytes count; times, owners and order do not."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    tree = hashlib.sha256()
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else ""
        with file.open("rb") as stream:
            inner = hashlib.file_digest(stream, "sha256").hexdigest()
        tree.update(f"{name}\0{inner}\0".encode())
    return tree.hexdigest()


class Vault:
    """The artifact root: `sealed/<stage>/<key>/` holds what stages finished, `work/` the rest.

    A sealed folder appears by one rename, so whatever is there is whole.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def work(self, stage: str, key: str) -> Path:
        """Where a stage writes and keeps checkpoints until it is sealed; survives a kill."""
        folder = self.root / "work" / f"{stage}-{key[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def find(self, stage: str, key: str) -> Artifact | None:
        """The sealed artifact under this key, if it is there.

        Raises:
            EvidenceError: its content was altered since it was sealed.
        """
        facts = self._home(stage, key) / "artifact.json"
        if not facts.is_file():
            return None
        stored = Artifact.model_validate_json(facts.read_text("utf-8"))
        found = stored.model_copy(update={"path": str(facts.parent / "content")})
        self.verify(found)
        return found

    def facts(self, artifact: Artifact) -> dict[str, object]:
        """What the stage noted beside its content: seconds, energy, settings, versions."""
        note = artifact.folder.parent / "stage.json"
        facts: dict[str, object] = json.loads(note.read_text("utf-8"))
        return facts

    def seal(
        self,
        kind: Kind,
        content: Path,
        *,
        stage: str,
        key: str,
        parents: tuple[str, ...],
        facts: Mapping[str, object],
    ) -> Artifact:
        """Fingerprint finished content and move it, with its facts, into place."""
        home = self._home(stage, key)
        sealed = Artifact(
            kind=kind,
            path=str(home / "content"),
            digest=fingerprint(content),
            parents=parents,
            stage=stage,
            key=key,
        )
        aside = self.root / "work" / f"sealing-{stage}-{key[:16]}-{os.getpid()}"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir(parents=True)
            (aside / "artifact.json").write_text(sealed.model_dump_json(indent=1), "utf-8")
            note = json.dumps(facts, indent=1, sort_keys=True)
            (aside / "stage.json").write_text(note, "utf-8")
            os.replace(content, aside / "content")
            home.parent.mkdir(parents=True, exist_ok=True)
            os.replace(aside, home)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        return sealed

    def discard(self, artifact: Artifact) -> None:
        """Forget a sealed artifact whose counterpart elsewhere is gone."""
        aside = self.root / "work" / f"discarded-{artifact.stage}-{artifact.key[:16]}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(parents=True, exist_ok=True)
        os.replace(artifact.folder.parent, aside)
        shutil.rmtree(aside, ignore_errors=True)

    def verify(self, artifact: Artifact) -> None:
        """Raise EvidenceError where the content no longer has its digest."""
        if fingerprint(artifact.folder) != artifact.digest:
            raise EvidenceError(
                f"{artifact.folder}: its content differs from its sealed digest; remove "
                f"{artifact.folder.parent} and run again to make it anew"
            )

    def _home(self, stage: str, key: str) -> Path:
        return self.root / "sealed" / stage / key[:32]
