"""A GGUF file's own vocabulary, with the few methods of a tokenizer that we call."""

import ctypes
from collections.abc import Mapping, Sequence

from tasks.models.gguf_file import Header
from tasks.models.gguf_runtime import Network, library


class Vocabulary:
    """Encodes and decodes as llama.cpp does with this file.

    Stands where a tokenizer of transformers stands: `Encoder`, generation and chat
    templates ask nothing else of one.
    """

    def __init__(self, network: Network, header: Header) -> None:
        self._lib = library()
        self._network = network
        self._vocab = network.vocab
        self.chat_template = header.chat_template
        self.bos_token_id = header.bos
        self.eos_token_id = header.eos
        self._adds_bos = bool(self._lib.llama_vocab_get_add_bos(self._vocab))
        kind = self._lib.llama_vocab_type(self._vocab)
        self._is_bytes = kind == self._lib.LLAMA_VOCAB_TYPE_BPE

    def __call__(self, texts: Sequence[str], **_how: object) -> Mapping[str, list[list[int]]]:
        """Tokens of each text and nothing else, as `input_ids`."""
        return {"input_ids": [self._encode(text) for text in texts]}

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Tokens of a text, by default with the BOS that the file says to add."""
        ids = self._encode(text)
        if add_special_tokens and self._adds_bos and self.bos_token_id is not None:
            return [self.bos_token_id, *ids]
        return ids

    def decode(self, ids: Sequence[int], **_how: object) -> str:
        """Text of tokens, special ones included; bytes that are no UTF-8 become U+FFFD."""
        if self._is_bytes:  # or blanks before signs would be cleaned away, " ?" to "?"
            return b"".join(map(self._piece, ids)).decode("utf-8", "replace")
        tokens = (ctypes.c_int32 * len(ids))(*ids)
        size = 16 * len(ids) + 16
        while True:
            buffer = ctypes.create_string_buffer(size)
            n = self._lib.llama_detokenize(
                self._vocab, tokens, len(ids), buffer, size, False, True
            )
            if n >= 0:
                return buffer.raw[:n].decode("utf-8", "replace")
            size = -n

    def _piece(self, token: int) -> bytes:
        """The bytes that one token stands for."""
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            n = self._lib.llama_token_to_piece(self._vocab, token, buffer, size, 0, True)
            if n >= 0:
                return buffer.raw[:n]
            size = -n

    def is_end(self, token: int) -> bool:
        """Whether the file says that a text ends with this token."""
        return bool(self._lib.llama_vocab_is_eog(self._vocab, token))

    def apply_chat_template(
        self,
        history: Sequence[Mapping[str, str]],
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        **_how: object,
    ) -> str:
        """Render a conversation with the file's own template, in transformers' sandbox.

        Raises:
            jinja2.TemplateError: the template does not render it.
        """
        from transformers.utils.chat_template_utils import render_jinja_template

        named = {"bos_token": self.bos_token_id, "eos_token": self.eos_token_id}
        special = {
            name: self.decode([token]) for name, token in named.items() if token is not None
        }
        texts, _ = render_jinja_template(
            conversations=[list(history)], chat_template=self.chat_template,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message, **special,
        )  # fmt: skip
        return str(texts[0])

    def _encode(self, text: str) -> list[int]:
        data = text.encode()
        size = len(data) + 8
        while True:
            tokens = (ctypes.c_int32 * size)()
            n = self._lib.llama_tokenize(
                self._vocab, data, len(data), tokens, size, False, True
            )
            if n >= 0:
                return tokens[:n]
            size = -n
