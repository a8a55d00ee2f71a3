"""Which revision of a set of the hub would `datasets` read now?"""

from pathlib import Path

PATIENCE_S = 5.0
"""How long one attempt to reach the hub may take."""
UNKNOWN = "not on this machine, and the hub cannot be reached"


def is_local(path: str) -> bool:
    """Whether a task's `dataset_path` means files or a format, and no set of the hub."""
    from importlib.util import find_spec

    if Path(path).exists():
        return True
    return path.isidentifier() and find_spec(f"datasets.packaged_modules.{path}") is not None


def revision(path: str, wanted: str | None = None) -> str:
    """Commit of a set: the hub's answer, else that of the newest copy in the cache.

    `datasets` asks the same and falls back the same way. One short attempt tells; a copy in
    the cache lies in a folder called after the commit it was made from, so both answers
    agree and an evaluation made online is found again offline.
    """
    return _of_hub(path, wanted) or _of_cache(path) or UNKNOWN


def _of_hub(path: str, wanted: str | None) -> str | None:
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return None
    try:
        return HfApi().dataset_info(path, revision=wanted, timeout=PATIENCE_S).sha
    except Exception:  # noqa: BLE001 - its errors come from three libraries; all: no answer
        return None


def _of_cache(path: str) -> str | None:
    """The newest of `OWNER___NAME/CONFIG/VERSION/COMMIT`."""
    from datasets.config import HF_DATASETS_CACHE
    from datasets.naming import camelcase_to_snakecase

    owner, _, name = path.rpartition("/")
    folder = "___".join(part for part in (owner, camelcase_to_snakecase(name)) if part)
    copies = [p for p in Path(HF_DATASETS_CACHE).glob(f"{folder}/*/*/*") if p.is_dir()]
    return max(copies, key=lambda copy: copy.stat().st_mtime).name if copies else None
