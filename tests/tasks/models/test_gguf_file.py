"""What is no whole GGUF model is named before llama.cpp sees it, and ends no process."""

import json
import math

import pytest

from audits.errors import SpecError
from tasks.models.folder import check_folder, check_reference, gguf_file, weights_digest
from tasks.models.gguf_file import read
from tasks.models.gguf_write import write_gguf
from tasks.models.load import load
from tasks.models.testing import tiny_gpt2, tiny_llama

gguf = pytest.importorskip("gguf", reason="the gguf extra is not installed")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("m"), layers=1, width=32)


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    return write_gguf(source, tmp_path_factory.mktemp("g") / "whole.gguf")


@pytest.fixture
def changed(whole, tmp_path):
    """Writes the whole file again with other fields, or without its tensors."""

    def make(fields=None, *, tensors=True, architecture="llama", without=()):
        out = tmp_path / "changed.gguf"
        reader = gguf.GGUFReader(whole)
        writer = gguf.GGUFWriter(out, architecture)
        skipped = {"general.architecture", *(fields or {}), *without}
        for name, field in reader.fields.items():
            if name.startswith("GGUF.") or name in skipped:
                continue
            kind, *more = field.types
            writer.add_key_value(name, field.contents(), kind, more[0] if more else None)
        for name, (value, kind) in (fields or {}).items():
            writer.add_key_value(name, value, kind)
        for tensor in reader.tensors if tensors else ():
            writer.add_tensor(tensor.name, tensor.data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return out

    return make


def test_a_whole_file_says_what_it_is(whole, changed):
    for file in (whole, changed()):
        header = read(file)
        assert (header.architecture, header.file_type) == ("llama", "F32")
        assert header.types == {"F32": 1.0}
        assert (header.bos, header.eos, header.chat_template) == (0, 1, None)


def test_every_way_to_cut_it_short_is_refused(whole, tmp_path):
    data, cut = whole.read_bytes(), tmp_path / "cut.gguf"
    lengths = [*range(0, 64), *range(64, len(data), len(data) // 60), len(data) - 1]
    for length in lengths:
        cut.write_bytes(data[:length])
        with pytest.raises(SpecError, match=r"cut\.gguf: .*(cut short|no GGUF file)"):
            read(cut)


UINT, BOOL, TEXT, REAL = "UINT32", "BOOL", "STRING", "FLOAT32"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"split.count": (3, "UINT16")}, "is one of 3 parts; join them"),
        ({"general.type": ("adapter", TEXT)}, "holds a GGUF adapter, not a model"),
        ({"llama.attention.causal": (False, BOOL)}, "holds an encoder"),
        ({"tokenizer.ggml.bos_token_id": (300, UINT)}, "is 300, but there are 300 tokens"),
        ({"tokenizer.chat_template": (7, UINT)}, "is 7, which is no str"),
        # llama.cpp asserts these, and with the assertion the process ends
        ({"llama.block_count": (0, UINT)}, "block_count is 0, with 12 tensors"),
        ({"llama.block_count": (2**31, UINT)}, "block_count is 2147483648"),
        ({"llama.attention.layer_norm_rms_epsilon": (-1.0, REAL)}, "which is no epsilon"),
        ({"llama.attention.layer_norm_rms_epsilon": (math.nan, REAL)}, "which is no epsilon"),
    ],
)
def test_what_is_no_model_of_its_own_is_named(changed, fields, words):
    kinds = {k: (v, gguf.GGUFValueType[kind]) for k, (v, kind) in fields.items()}
    with pytest.raises(SpecError, match=words):
        read(changed(kinds))


def test_a_vocabulary_alone_is_no_model(changed):
    with pytest.raises(SpecError, match="holds a vocabulary and no weights"):
        read(changed(tensors=False))


def test_weights_without_a_vocabulary_are_no_model(changed):
    tokens = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges")
    with pytest.raises(SpecError, match="holds no vocabulary"):
        read(changed(without=tokens))


@pytest.mark.parametrize("twin", [b"a", b"a\0"])  # llama.cpp reads a token up to its NUL
def test_tokens_that_llama_cpp_takes_for_one_are_refused(whole, tmp_path, twin):
    data, file = whole.read_bytes(), tmp_path / "twins.gguf"
    at = data.index(b"\x01\0\0\0\0\0\0\0b\x01\0\0\0\0\0\0\0c")
    b, c = at + 8, at + 17
    data = data[: b - 8] + len(twin).to_bytes(8, "little") + twin + data[b + 1 :]
    # the header stays as long as it was: what is taken is added to another token
    data = data.replace(b"\x05\0\0\0\0\0\0\0<bos>", (6 - len(twin)).to_bytes(8, "little")
                        + b"<bos>"[: 6 - len(twin)])  # fmt: skip
    file.write_bytes(data)
    assert c > b
    with pytest.raises(SpecError, match="are equal to others"):
        read(file)


def test_an_array_said_to_be_endless_is_refused_at_once(whole, tmp_path):
    data, file = bytearray(whole.read_bytes()), tmp_path / "endless.gguf"
    key = b"tokenizer.ggml.token_type"
    at = data.index(key) + len(key) + 4 + 4  # its type, then the type of its elements
    data[at : at + 8] = (2**29).to_bytes(8, "little")
    file.write_bytes(data)
    with pytest.raises(SpecError, match=r"nothing follows byte|cut short or damaged"):
        read(file)


def test_another_format_under_that_name_is_no_gguf_file(tmp_path):
    file = tmp_path / "x.gguf"
    file.write_bytes(b"PK\x03\x04 a zip")
    with pytest.raises(SpecError, match=r"begins with b'PK\\x03\\x04', not b'GGUF'"):
        load(file)
    with pytest.raises(SpecError, match="there is no such file"):
        load(tmp_path / "absent.gguf")


def test_an_architecture_llama_cpp_does_not_know_is_refused_in_its_own_words(changed):
    pytest.importorskip("llama_cpp", reason="the gguf extra is not installed")
    with pytest.raises(SpecError, match="unknown model architecture: 'lama'"):
        load(changed(architecture="lama"))


def test_a_header_that_lacks_what_the_network_needs_is_refused(changed):
    pytest.importorskip("llama_cpp", reason="the gguf extra is not installed")
    with pytest.raises(SpecError, match=r"llama\.cpp cannot load it .*ffn_gate"):
        load(changed(without=("llama.feed_forward_length",)))


def test_a_run_starts_from_weights_it_can_compress(whole):
    with pytest.raises(SpecError, match="a run starts from safetensors weights"):
        check_reference(str(whole))


def test_safetensors_beside_a_gguf_file_are_the_model(source, whole, tmp_path):
    folder = tmp_path / "both"
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "extra.gguf").write_bytes(whole.read_bytes())
    assert gguf_file(folder) is None
    check_folder(folder)
    assert weights_digest(folder) == weights_digest(source)


def test_only_what_can_be_written_faithfully_is_written(tmp_path):
    folder = tiny_gpt2(tmp_path / "m", layers=1)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "mpt"}), "utf-8")
    with pytest.raises(SpecError, match="'mpt'"):
        write_gguf(folder, tmp_path / "x.gguf")
    assert not (tmp_path / "x.gguf").exists()
