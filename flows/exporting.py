"""Take a version out of the registry: a folder in Hugging Face layout, with its card."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from audits.errors import EvidenceError, SpecError
from flows.home import Home, open_registry
from flows.reviewing import find_version
from registry import hub_card
from registry.card import Subject
from registry.layout import DATA
from registry.store import Store, Version
from tasks.models import modelfile
from tasks.models.folder import gguf_file, identity_files, weights_digest

Answer = tuple[dict[str, Any], str]


def export(named: str, out: Path, home: Home, *, ollama: bool = False) -> Answer:
    """Write the registered weights, configuration and tokenizer to `out`, and a README.

    Only files that the version's digest covers go out, each as it was registered. The folder
    appears whole or not at all. With `ollama`, a Modelfile stands beside a GGUF file.

    Raises:
        SpecError: there is no such version, something is in `out` already, or a Modelfile is
            asked for a version that is no GGUF file.
        EvidenceError: what is stored is not what the version stands for.
    """
    place = out.expanduser().resolve()
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise SpecError(f"--out {out}: something is there already; give a new or empty folder")
    store = open_registry(home)
    version = store.sound(find_version(store, named))
    where = f"{version.name}/{version.number}"
    readme = _readme(store, version)
    source = store.attachment(version, DATA)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as tmp:
        aside = Path(tmp) / "model"
        aside.mkdir()
        for name, file in identity_files(source).items():
            shutil.copyfile(file, aside / name)
        _require_weights(aside, version, where)
        if ollama:
            (aside / modelfile.FILE).write_text(_modelfile(aside, where), "utf-8")
        (aside / hub_card.README).write_text(readme, "utf-8")
        files = sorted(p.name for p in aside.iterdir())
        os.replace(aside, place)
    document = {
        "version": where, "verdict": version.verdict, "weights": version.weights,
        "folder": str(out), "files": files,
    }  # fmt: skip
    return document, f"{where}: {len(files)} files in {out}"


def _readme(store: Store, version: Version) -> str:
    evidence = store.evidence(version.name, version.number)
    title = str(evidence.about.get("title", version.number))
    subject = Subject.of(version.name, title, evidence)
    return hub_card.render(subject, store.decision(version))


def _modelfile(folder: Path, where: str) -> str:
    file = gguf_file(folder)
    if file is None:
        raise SpecError(
            f"{where}: is no GGUF file, and Ollama's Modelfile is written for one; export a "
            "variant whose last step is gguf, or leave out --modelfile"
        )
    return modelfile.modelfile(file)


def _require_weights(folder: Path, version: Version, where: str) -> None:
    """Judge the copy: what is checked is what goes out."""
    try:
        found = weights_digest(folder)
    except (SpecError, ValueError) as error:  # no weights, or a configuration that is no JSON
        raise EvidenceError(f"{where}: the stored model is not whole, {error}") from error
    if found != version.weights:
        raise EvidenceError(
            f"{where}: the stored files have digest {found[:12]}, this version is "
            f"{version.weights[:12]}; publish them again with `assay run`"
        )
