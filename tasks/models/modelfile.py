"""How would Ollama run a GGUF file? Its Modelfile, with the conversation format where known.

Ollama's templates are Go's, a file's own is Jinja. One is written here only where it was
proved on conversations that both say the same; Ollama takes no other from here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = "Modelfile"
Turn = Mapping[str, str]
ASKED: Sequence[Turn] = ({"role": "user", "content": "Who are you?"},)
TOLD: Sequence[Turn] = ({"role": "system", "content": "Be brief."}, *ASKED)
LONG: Sequence[Turn] = (
    *TOLD,
    {"role": "assistant", "content": "A model."},
    {"role": "user", "content": "Which one?"},
)


@dataclass(frozen=True, slots=True)
class Format:
    """A conversation as text: what stands before a role, behind it, and behind its words."""

    before: str
    between: str
    after: str

    def render(self, turns: Sequence[Turn]) -> str:
        """The text of a conversation, up to where the assistant speaks."""
        said = "".join(
            f"{self.before}{turn['role']}{self.between}{turn['content']}{self.after}"
            for turn in turns
        )
        return f"{said}{self.before}assistant{self.between}"

    def go(self) -> str:
        """The same as a template of Go's, with Ollama's names."""
        turn = f"{self.before}{{{{ .Role }}}}{self.between}{{{{ .Content }}}}{self.after}"
        return (
            f"{{{{- range .Messages }}}}{turn}{{{{ end }}}}{self.before}assistant{self.between}"
        )


FORMATS = (
    Format("<|im_start|>", "\n", "<|im_end|>\n"),
    Format("<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>"),
)
"""ChatML (Qwen, SmolLM) and Llama 3's."""


def modelfile(file: Path) -> str:
    """What Ollama's `create` reads, beside a file `./model.gguf` like this one.

    Raises:
        SpecError: it is no GGUF file of a model.
    """
    from gguf import GGUFReader

    from tasks.models.gguf_file import read

    header = read(file)
    fields = GGUFReader(file).fields
    lines = [f"FROM ./{file.name}"]
    special = _special(fields, {"bos_token": header.bos, "eos_token": header.eos})
    found = _translated(header.chat_template, special) if header.chat_template else None
    if found is not None:
        form, system = found
        lines.append(f'TEMPLATE """{form.go()}"""')
        lines.extend([f'SYSTEM """{system}"""'] if system else [])
    stops = [special["eos_token"]] if special["eos_token"] else []
    if found is not None and (ending := found[0].after.strip()) not in stops:
        stops.append(ending)
    lines.extend(f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}" for stop in stops)
    window = fields.get(f"{header.architecture}.context_length")
    if window is not None:
        lines.append(f"PARAMETER num_ctx {int(window.contents())}")
    return "\n".join(lines) + "\n"


def _special(fields: Mapping[str, Any], ids: Mapping[str, int | None]) -> dict[str, str]:
    tokens = fields["tokenizer.ggml.tokens"]
    return {name: "" if at is None else str(tokens.contents(at)) for name, at in ids.items()}


def _translated(template: str, special: Mapping[str, str]) -> tuple[Format, str] | None:
    """A format that renders conversations as the template does, and its own system prompt."""
    asked, told, long = (_render(template, turns, special) for turns in (ASKED, TOLD, LONG))
    if asked is None or told is None or long is None:
        return None
    for form in FORMATS:
        if (told, long) == (form.render(TOLD), form.render(LONG)):
            if asked == form.render(ASKED):
                return form, ""
            system = _default(form, asked)
            if system is not None:
                return form, system
    return None


def _default(form: Format, asked: str) -> str | None:
    """The system prompt that a template adds where a conversation has none."""
    head, tail = f"{form.before}system{form.between}", form.after + form.render(ASKED)
    if not (asked.startswith(head) and asked.endswith(tail)):
        return None
    system = asked[len(head) : -len(tail)]
    return system if system and '"""' not in system else None


def _render(template: str, turns: Sequence[Turn], special: Mapping[str, str]) -> str | None:
    """A conversation by the file's template, without the BOS that Ollama puts itself."""
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        [said], _ = render_jinja_template(
            conversations=[list(turns)], chat_template=template, add_generation_prompt=True,
            **special,
        )  # fmt: skip
    except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError):
        return None
    return str(said).removeprefix(special["bos_token"])
