"""Which tokens does a (context, continuation) pair become?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from audits.errors import AuditError
from audits.model import require_text


@dataclass(frozen=True, slots=True)
class Pair:
    """Tokens of a context and of the continuation to score after it; neither is empty.

    `n_bytes` are the UTF-8 bytes of the continuation with the spaces it took over.
    """

    context: tuple[int, ...]
    continuation: tuple[int, ...]
    n_bytes: int
    stable: bool


class Encoder:
    """Encodes requests as lm-eval 0.4.13 does (`TemplateLM._encode_pair`), and checks it.

    An empty context is the prefix token: BOS, or EOS where there is no BOS. Any other
    context begins with BOS where the tokenizer's own default adds one, or as `add_bos` says.
    No other special token is ever added.
    """

    def __init__(self, tokenizer: Any, *, add_bos: bool | None = None) -> None:  # noqa: ANN401
        bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        if bos is None and eos is None:
            raise AuditError(
                "the tokenizer has neither a BOS nor an EOS token, so nothing can stand "
                "before a text: name one in its special_tokens_map.json"
            )
        self.tokenizer = tokenizer
        self.prefix: int = eos if bos is None else bos
        self.prefix_text: str = tokenizer.decode([self.prefix])
        self.adds_bos = self._default() if add_bos is None else add_bos

    @property
    def bos_policy(self) -> str:
        """What stands before a text; part of every basis."""
        token = "bos" if self.tokenizer.bos_token_id is not None else "eos"
        return f"empty:{token},context:{token if self.adds_bos else 'none'}"

    def plain(self, texts: Iterable[str]) -> list[list[int]]:
        """Tokens of each text and nothing else.

        Raises:
            AuditError: a text is none in Unicode.
        """
        texts = list(texts)
        if not texts:
            return []
        require_text(texts)
        batch = self.tokenizer(
            texts, add_special_tokens=False, return_attention_mask=False, verbose=False
        )
        ids: list[list[int]] = batch["input_ids"]
        return ids

    def contexts(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text as something to continue, with the prefix it needs."""
        return [
            self._lead(text) + ids for text, ids in zip(texts, self.plain(texts), strict=True)
        ]

    def pairs(self, requests: Sequence[tuple[str, str]]) -> list[Pair]:
        """Encode context and continuation once, together, and split where the context ends.

        Trailing spaces of a context move to its continuation. Where the continuation melts
        into the context's last token, the two are encoded apart and marked as unstable.

        Raises:
            AuditError: a continuation is empty, so there is nothing to score.
        """
        split = [_move_spaces(context, text) for context, text in requests]
        for context, asked in requests:
            if not asked:
                raise AuditError(
                    f"nothing to score: the continuation after {context[-60:]!r} is empty"
                )
        unique = dict.fromkeys(c for c, _ in split) | dict.fromkeys(c + t for c, t in split)
        ids = dict(zip(unique, self.plain(unique), strict=True))
        return [self._pair(context, text, ids) for context, text in split]

    def _pair(self, context: str, text: str, ids: dict[str, list[int]]) -> Pair:
        n_bytes = len(text.encode())
        whole, head = ids[context + text], ids[context]
        if not context:
            return self._after_prefix(text, whole, n_bytes)
        lead = self._lead(context)
        stable = whole[: len(head)] == head
        tail = whole[len(head) :]
        if not tail:
            tail, stable = self.plain([text])[0], False
        if not lead and not head:
            lead = [self.prefix]
        return Pair((*lead, *head), tuple(tail), n_bytes, stable)

    def _after_prefix(self, text: str, whole: list[int], n_bytes: int) -> Pair:
        if not whole:
            raise AuditError(f"nothing to score: the tokenizer makes no token of {text[:60]!r}")
        if whole[0] == self.prefix and len(whole) > 1:
            return Pair((whole[0],), tuple(whole[1:]), n_bytes, True)
        return Pair((self.prefix,), tuple(whole), n_bytes, True)

    def _lead(self, context: str) -> list[int]:
        if not context:
            return [self.prefix]
        wanted = self.adds_bos and not context.startswith(self.prefix_text)
        return [self.prefix] if wanted else []

    def _default(self) -> bool:
        """Whether the tokenizer, left alone, puts its BOS before a text."""
        plain = self.tokenizer.encode("a", add_special_tokens=False)
        with_special = self.tokenizer.encode("a")
        return bool(with_special[: 1 + len(plain)] == [self.prefix, *plain])


def beyond(encoder: Encoder, prompts: Sequence[str], room: int) -> list[int | None]:
    """Tokens of each prompt, with the prefix it needs, that do not fit into `room`."""
    return [max(0, len(tokens) - room) for tokens in encoder.contexts(prompts)]


def _move_spaces(context: str, continuation: str) -> tuple[str, str]:
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation
