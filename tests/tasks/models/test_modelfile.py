"""What Ollama is told of a file is what the file says, or nothing."""

import pytest

from tasks.models.gguf_write import write_gguf
from tasks.models.modelfile import FORMATS, modelfile
from tasks.models.testing import CHATML, split_tokenizer, tiny_llama

pytest.importorskip("llama_cpp", reason="the gguf extra is not installed")

WITH_DEFAULT = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\n' }}"
    "{{ 'You are Tiny.<|im_end|>\n' }}{% endif %}" + CHATML
)
UNKNOWN = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}"


@pytest.fixture
def told(tmp_path):
    """The Modelfile of a tiny model with a chat template, parsed."""

    def make(template):
        own = split_tokenizer("smollm")
        own.chat_template = template
        source = tiny_llama(tmp_path / "m", layers=1, tokenizer=own)
        return parse(modelfile(write_gguf(source, tmp_path / "model.gguf")))

    return make


def parse(text):
    """Instructions by name, as Ollama's own parser reads them; parameters as a list."""
    found = {"PARAMETER": []}
    while text := text.lstrip("\n"):
        name, _, text = text.partition(" ")
        assert name in ("FROM", "TEMPLATE", "SYSTEM", "PARAMETER"), name
        if text.startswith('"""'):
            value, _, text = text[3:].partition('"""')
        else:
            value, _, text = text.partition("\n")
        if name == "PARAMETER":
            found[name].append(value)
        else:
            assert name not in found
            found[name] = value
    return found


def test_chatml_becomes_gos_template(told):
    assert told(CHATML) == {
        "FROM": "./model.gguf",
        "TEMPLATE": (
            "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}"
            "<|im_start|>assistant\n"
        ),
        "PARAMETER": ['stop "<|im_end|>"', "num_ctx 128"],
    }


def test_a_system_prompt_of_the_templates_own_is_kept(told):
    found = told(WITH_DEFAULT)
    assert found["SYSTEM"] == "You are Tiny."
    assert "<|im_start|>" in found["TEMPLATE"]


@pytest.mark.parametrize("template", [None, UNKNOWN, "{{ 1 / 0 }}", "{% broken"])
def test_a_template_that_is_not_known_is_not_guessed(told, template):
    assert told(template) == {
        "FROM": "./model.gguf", "PARAMETER": ['stop "<|im_end|>"', "num_ctx 128"],
    }  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_puts_every_turn_between_the_same_signs(form):
    said = form.render([{"role": "user", "content": "Hi"}])
    turn = f"{form.before}user{form.between}Hi{form.after}"
    assert said == f"{turn}{form.before}assistant{form.between}"
