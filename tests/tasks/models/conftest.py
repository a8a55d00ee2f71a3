import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.models import testing
from tasks.models.load import load
from tasks.models.torch_model import TorchModel

BUILDERS = {
    "llama": testing.tiny_llama,
    "gpt2": testing.tiny_gpt2,
    "neox": testing.tiny_neox,
    "mamba2": testing.tiny_mamba2,
    "rwkv": testing.tiny_rwkv,
    "mobilebert": testing.tiny_mobilebert,
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Callable[..., Path]:
    """A tiny model's folder by name, made once."""
    made: dict[tuple[str, bool], Path] = {}

    def make(name: str, *, add_bos: bool = False) -> Path:
        key = (name, add_bos)
        if key not in made:
            home = tmp_path_factory.mktemp(f"{name}-{add_bos}")
            made[key] = BUILDERS[name](home, **({"add_bos": True} if add_bos else {}))
        return made[key]

    return make


@pytest.fixture(scope="session")
def device() -> str:
    """Where networks run: the CPU, or what ASSAY_TEST_DEVICE names."""
    return os.environ.get("ASSAY_TEST_DEVICE", "cpu")


@pytest.fixture(scope="session")
def model(folder, device) -> Callable[..., TorchModel]:
    loaded: dict[tuple[str, bool], TorchModel] = {}

    def get(name: str = "llama", *, add_bos: bool = False) -> TorchModel:
        key = (name, add_bos)
        if key not in loaded:
            loaded[key] = load(folder(name, add_bos=add_bos), device=device)
        return loaded[key]

    return get
