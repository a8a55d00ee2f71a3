import shutil

import pytest

from registry import bundle, layout
from registry.gate import Case, decide
from registry.looks import Look, looked, looks
from registry.mlflow_store import open_store
from registry.policy import Policy
from registry.rules import AtLeast, NoWorse
from registry.store import Dataset, Publication
from registry.testing import MemoryStore

POLICY = Policy(
    name="strict",
    rules=(
        AtLeast(measure="facts/recall", bound=0.8, because="A reason."),
        NoWorse(measure="facts/recall", than="champion", margin=0.05),
    ),
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Nobody else works on these registries: what is altered is altered, and not waited for."""
    monkeypatch.setattr("registry.reading.RENEWING_S", 0)
    monkeypatch.setattr("registry.reading.RENEWING_TRIES", 1)


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


@pytest.fixture(params=["memory", "mlflow"])
def store(request):
    return (
        MemoryStore() if request.param == "memory" else request.getfixturevalue("open_again")()
    )


@pytest.fixture
def publication(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text("{}", "utf-8")

    def make(known, **changes):
        return Publication(
            name="toy", title="int8", folder=folder, evidence=known, loader="tasks.serving",
            requirements=("torch==2.13.0",), params={"bits": 8, "lr": 0.1},
            tags={"spec": "s1", "data": "d1"},
            datasets=(Dataset("world", "d" * 64, "/somewhere"),), **changes,
        )  # fmt: skip

    return make


@pytest.fixture
def publish():
    """Publishes below a run of its own."""
    return lambda store, made: store.publish(made, parent=store.begin("tests", "one"))


@pytest.fixture
def forge():
    """Lays other evidence beside a version's, whole and consistent, and tags that name it."""

    def forged(store, version, known, **tags):
        folder = store.attachment(version, layout.EVIDENCE)
        aside = folder.parent / "forged"
        digest = bundle.write(known, aside)
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        shutil.rmtree(aside)
        named = {"assay.sealed": digest, "assay.evidence": digest}
        store._backend.describe(version, tags=named | tags)

    return forged


@pytest.fixture
def policy():
    return POLICY


@pytest.fixture
def look():
    """Decides on a version from what is stored, and leaves no trace."""

    def decided(store, version, champion=None, policy=POLICY, **case):
        known = store.evidence(version.name, version.number)
        now = store.version(version.name, version.number)
        asked = Look(None, store.records(now), store.bases(now))
        before = looked(store, now, store.judgements(now))
        counted = {"looks": looks(policy.rules, before, asked)}
        return decide(policy, Case(known, None, champion, **(counted | case)))

    return decided


@pytest.fixture
def judge(look):
    """Decides on a version from what is stored, and stores that."""

    def judged(store, version, champion=None, policy=POLICY, **case):
        decision = look(store, version, champion, policy, **case)
        store.record(version, decision, policy.model_dump(mode="json"))
        return decision

    return judged


def _pair(folder, name):
    """A private and a public key as PEM files."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public


@pytest.fixture
def key_pair():
    """Makes two halves of a key of one's own, in a folder, under a name."""
    return _pair


@pytest.fixture
def keys(tmp_path):
    return _pair(tmp_path, "ours")
