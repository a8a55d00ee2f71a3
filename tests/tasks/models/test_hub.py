"""A model of the hub is found in the cache, reached in one attempt, or missed in a sentence."""

import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from audits.errors import SpecError
from tasks.models import hub
from tasks.models.folder import check_reference
from tasks.models.load import locate

COMMIT = "0" * 39 + "1"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and a hub that nobody may ask."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


@pytest.fixture
def answering(cache, monkeypatch):
    """A hub on this machine that answers every question alike; gives what it was asked."""
    asked = []

    def serve(status: int, **headers: str):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{servers[-1].server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        return asked

    servers: list[ThreadingHTTPServer] = []
    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def put(cache, folder, hub_id="owner/small"):
    """Lay a model into the cache as the hub's own client does."""
    home = cache / f"models--{hub_id.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(COMMIT, "utf-8")
    shutil.copytree(folder, home / "snapshots" / COMMIT)
    return home / "snapshots" / COMMIT


def sentence(ref, revision=None):
    with pytest.raises(SpecError) as caught:
        check_reference(ref, revision)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_model_in_the_cache_needs_no_hub(cache, folder):
    snapshot = put(cache, folder("llama"))
    check_reference("owner/small")
    assert hub.cached("owner/small") == snapshot
    assert locate("owner/small") == snapshot


def test_half_a_model_in_the_cache_is_none(cache, folder):
    (put(cache, folder("llama")) / "model.safetensors").unlink()
    assert hub.cached("owner/small") is None
    assert "cannot be reached" in sentence("owner/small")


def test_a_missing_model_without_a_connection_says_how_to_get_it(cache):
    said = sentence("owner/small", "v1")
    assert "'owner/small' at revision 'v1' is no folder here" in said
    assert "`hf download owner/small --revision v1 --local-dir DIR`" in said


def test_a_refused_connection_is_the_same_sentence(cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "the hub cannot be reached" in sentence("owner/small")


def test_the_hub_is_asked_once_and_nothing_is_downloaded(answering, cache):
    asked = answering(503)
    assert "the hub cannot be reached" in sentence("owner/small")
    assert asked == ["/api/models/owner/small"]
    assert not list(cache.rglob("*.safetensors"))


def test_a_name_the_hub_does_not_know_is_to_be_corrected(answering):
    answering(404, X_Error_Code="RepoNotFound")
    assert "no public model of the hub; correct the name" in sentence("owner/smal")


@pytest.mark.parametrize("ref", ["owner/c d", "-x", "a..b"])
def test_what_is_no_name_at_all_is_not_asked_of_the_hub(answering, ref):
    asked = answering(200)
    assert "neither a folder here nor a hub id" in sentence(ref)
    assert not asked


@pytest.mark.parametrize(
    "ref", ["models/of/mine", "./mine", "/nowhere/mine", "~/no-such-model"]
)
def test_what_can_only_be_a_path_is_not_asked_of_the_hub(answering, ref):
    asked = answering(200)
    assert "there is no such folder" in sentence(ref)
    assert not asked


def test_a_folder_is_checked_as_one(folder, tmp_path):
    check_reference(str(folder("llama")))
    (tmp_path / "empty").mkdir()
    assert "has no config.json" in sentence(str(tmp_path / "empty"))
