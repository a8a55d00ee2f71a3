"""Is a model of the hub here already, can it be had, and where did its files go?"""

from pathlib import Path

from audits.errors import SpecError

FILES = (
    "*.safetensors", "*.safetensors.index.json", "*.json", "*.model", "*.txt", "*.jinja",
)  # fmt: skip
"""Weights, configuration and tokenizer. Never pickles, never code."""
PATIENCE_S = 5.0
"""How long one attempt to reach the hub may take: the files themselves get longer."""


def cached(hub_id: str, revision: str | None = None) -> Path | None:
    """Folder of the hub's cache that holds the whole model, or None; asks no network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    from tasks.models.folder import check_folder

    require_hub_id(hub_id)
    try:
        found = Path(snapshot_download(hub_id, revision=revision, local_files_only=True))
        check_folder(found)
    except (LocalEntryNotFoundError, SpecError):
        return None
    return found


def require(hub_id: str, revision: str | None = None) -> None:
    """Return where the model can be had: from the hub's cache, or from the hub itself.

    One short attempt tells; nothing is downloaded.

    Raises:
        SpecError: no hub id, no public model of that name, or no connection.
    """
    if cached(hub_id, revision) is not None:
        return
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(hub_id, revision=revision, timeout=PATIENCE_S)
    except Exception as error:
        raise _sentence(hub_id, revision, error) from error


def fetch(hub_id: str, revision: str | None = None) -> Path:
    """Folder of a hub model's files; where the hub cannot be reached, from its cache.

    Raises:
        SpecError: as `require`.
    """
    from huggingface_hub import snapshot_download

    try:
        require(hub_id, revision)
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=list(FILES)))
    except SpecError:
        raise
    except Exception as error:
        raise _sentence(hub_id, revision, error) from error


def require_hub_id(ref: str) -> None:
    """Raise SpecError where a name cannot be that of a hub model."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # exported when run
        validate_repo_id,
    )

    try:
        validate_repo_id(ref)
    except HFValidationError as error:
        raise SpecError(
            f"{ref!r} is neither a folder here nor a hub id like owner/name; correct it"
        ) from error


def _sentence(hub_id: str, revision: str | None, error: Exception) -> SpecError:
    """What went wrong with the hub, for a person. Its errors come from three libraries."""
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    at = f"{hub_id!r}" + (f" at revision {revision!r}" if revision else "")
    if isinstance(error, GatedRepoError | RepositoryNotFoundError | RevisionNotFoundError):
        return SpecError(
            f"{at} is no folder here and no public model of the hub; correct the name or "
            "give a folder"
        )
    wanted = f"{hub_id} --revision {revision}" if revision else hub_id
    return SpecError(
        f"{at} is no folder here and the hub cannot be reached: get it on a connected "
        f"machine with `hf download {wanted} --local-dir DIR` and give DIR as the model"
    )
