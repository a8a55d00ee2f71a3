import shutil

import pytest

from registry.mlflow_store import open_store


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory):
    """An MLflow database with its tables: making them takes seconds, copying does not."""
    folder = tmp_path_factory.mktemp("registry")
    open_store(f"sqlite:///{folder}/empty.db")
    return folder / "empty.db"


@pytest.fixture
def open_again(empty_registry, tmp_path):
    """Opens one and the same MLflow registry, each time anew."""
    shutil.copyfile(empty_registry, tmp_path / "assay.db")
    return lambda: open_store(f"sqlite:///{tmp_path}/assay.db")
