"""Any model of lm-eval's, behind the seam that audits and benchmarks ask through."""

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM, TemplateLM

from audits.errors import AssayError, AuditError, EvidenceError, MeasureError, SpecError
from audits.evidence import Conditions
from audits.model import Score, require_generation, require_text
from tasks.models.borrowing import LOCAL, PREFIX, Borrowed
from tasks.models.folder import weights_digest
from tasks.models.quiet import patient_bars, quiet

OF_TRANSFORMERS = ("hf", "hf-auto", "huggingface")
"""Backends that take our `dtype` and device where the reference gives none."""


@dataclass(frozen=True, slots=True)
class _Encoded:
    """What a pair becomes: tokens of its continuation, and what became of its context."""

    n_tokens: int
    stable: bool
    truncated: int | None


class BorrowedModel:
    """Adapter from `lm_eval.api.model.LM` to `LanguageModel`.

    An `LM` gives the sum and the greedy flag of a continuation and nothing per token. It
    draws with its own luck, so that only greedy generation can be asked for. Tokens are
    counted where it has a tokenizer; elsewhere a score says 0 of them.
    """

    def __init__(self, lm: LM, *, digest: str, conditions: Conditions) -> None:
        self.lm = lm
        self.digest = digest
        self.conditions = dict(conditions)

    @property
    def tokenizer(self) -> Any:  # noqa: ANN401 - an untyped library object, or None
        """The model's tokenizer where lm-eval holds one, for its chat template."""
        return getattr(self.lm, "tokenizer", None)

    @property
    def max_length(self) -> int | None:
        """Tokens that the model sees at once; None where lm-eval's model does not tell.

        A server that is sent text and no tokens may cut it, refuse it, or have more room.
        """
        sent = getattr(self.lm, "tokenized_requests", True)
        found = getattr(self.lm, "max_length", None) if self._counts() and sent else None
        return found if isinstance(found, int) else None

    def score(
        self,
        requests: Sequence[tuple[str, str]],
        *,
        per_token: bool = False,
        moments: bool = False,
    ) -> list[Score]:
        """Score each (context, continuation) pair; see `LanguageModel.score`.

        Raises:
            AuditError: values per token are asked for, a continuation is empty, or lm-eval
                could not answer.
            MeasureError: a log-probability is not finite.
        """
        if per_token or moments:
            raise AuditError(
                "lm-eval's models give no values per token; ask a model folder instead"
            )
        require_text(part for request in requests for part in request)
        for context, text in requests:
            if not text:
                raise AuditError(
                    f"nothing to score: the continuation after {context[-60:]!r} is empty"
                )
        pairs = [_move_spaces(context, text) for context, text in requests]
        encoded = [self._encoded(*pair) for pair in pairs]
        answers = self._ask(self.lm.loglikelihood, "loglikelihood", pairs)
        return [
            Score(
                logprob=_finite(logprob, text),
                n_tokens=each.n_tokens,
                n_bytes=len(text.encode()),
                greedy=bool(greedy),
                boundary_stable=each.stable,
                truncated=each.truncated,
            )
            for (_, text), each, (logprob, greedy) in zip(pairs, encoded, answers, strict=True)
        ]

    def score_text(self, texts: Sequence[str], *, add_special: bool = False) -> list[Score]:
        """Score whole texts; whether greedy decoding would say them is not known: false.

        Raises:
            AuditError: the tokenizer puts a BOS before each text, which lm-eval scores with
                it, and `add_special` does not ask for that; or lm-eval could not answer.
        """
        require_text(texts)
        if not add_special and self._adds_bos():
            raise AuditError(
                "lm-eval scores the BOS that this model's tokenizer adds to a text; measure "
                "texts on the model folder instead"
            )
        asked = [(text,) for text in texts]
        found = self._ask(self.lm.loglikelihood_rolling, "loglikelihood_rolling", asked)
        return [
            Score(
                logprob=_finite(logprob, text),
                n_tokens=len(self._tokens(text)),
                n_bytes=len(text.encode()),
                greedy=False,
            )
            for text, logprob in zip(texts, found, strict=True)
        ]

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        seed: int,
        temperature: float = 0.0,
        n: int = 1,
        stop: Sequence[str] = (),
        lots: Sequence[str] = (),
    ) -> list[list[str]]:
        """Continue each prompt greedily; `n` samples of it are the same text.

        Raises:
            AuditError: a temperature is given, or lm-eval could not answer.
        """
        require_generation(
            prompts, max_new_tokens=max_new_tokens, seed=seed, temperature=temperature, n=n,
            stop=stop,
        )  # fmt: skip
        if temperature:
            raise AuditError(
                f"lm-eval's models cannot sample with a given seed (temperature "
                f"{temperature:g} was asked for); use temperature 0, or a model folder"
            )
        how = {
            "until": list(stop), "max_gen_toks": max_new_tokens, "do_sample": False,
            "temperature": 0.0,
        }  # fmt: skip
        asked = [(prompt, dict(how)) for prompt in prompts]
        said = self._ask(self.lm.generate_until, "generate_until", asked)
        return [[_until(str(text), stop)] * n for text in said]

    def truncated(self, prompts: Sequence[str], *, max_new_tokens: int) -> list[int | None]:
        """Tokens that each prompt loses in `generate`; None where the window is not known."""
        if (window := self.max_length) is None:
            return [None] * len(prompts)
        room = window - max_new_tokens
        return [max(0, len(self._tokens(prompt)) - room) for prompt in prompts]

    def _ask(
        self, method: Callable[[list[Any]], Any], kind: str, asked: Sequence[tuple[Any, ...]]
    ) -> list[Any]:
        """Put requests to lm-eval's model; whatever it raises becomes one sentence."""
        requests = [
            Instance(request_type=kind, doc={}, arguments=arguments, idx=i)
            for i, arguments in enumerate(asked)
        ]
        if not requests:
            return []
        try:
            with quiet(), patient_bars():
                return list(method(requests))
        except (AssayError, MemoryError):
            raise
        except Exception as error:
            raise AuditError(
                f"{self.conditions['backend']}: {kind} failed ({type(error).__name__}: "
                f"{' '.join(str(error).split()):.200}); ask for less or another model"
            ) from error

    def _encoded(self, context: str, text: str) -> "_Encoded":
        """A pair's tokens as lm-eval splits them.

        Raises:
            AuditError: the continuation is longer than the window; not every backend of
                lm-eval sees to that.
        """
        if not self._counts():
            return _Encoded(0, True, None)
        if context:
            head, tail = self.lm._encode_pair(context, text)
            whole = self.lm.tok_encode(context + text)
            stable = list(whole[: len(head)]) == list(head)
        else:
            tail, stable = self.lm.tok_encode(text, add_special_tokens=False), True
            led = len(tail) > 1 and tail[0] == self.lm.prefix_token_id
            head, tail = ([], tail[1:]) if led else ([], tail)
        if (window := self.max_length) is None:
            return _Encoded(len(tail), stable, None)
        if len(tail) > window:
            raise AuditError(
                f"{text[:60]!r}: {len(tail)} tokens to score exceed the model's {window} "
                "positions; shorten the text or score it in windows"
            )
        # transformers' models are fed all but the last token; the others count it too
        room = window + 1 if hasattr(self.lm, "AUTO_MODEL_CLASS") else window
        lost = max(0, len(head) + len(tail) - room)
        return _Encoded(len(tail), stable, min(len(head), lost))

    def _tokens(self, text: str) -> Sequence[int]:
        return self.lm.tok_encode(text) if self._counts() else ()

    def _counts(self) -> bool:
        """Whether lm-eval's model has a tokenizer; an address need not come with one."""
        backend = getattr(self.lm, "tokenizer_backend", "its own")
        return isinstance(self.lm, TemplateLM) and backend is not None

    def _adds_bos(self) -> bool:
        found = self._tokens("a")
        return len(found) > 1 and found[0] == getattr(self.lm, "prefix_token_id", None)


def open_borrowed(borrowed: Borrowed, dtype: str) -> BorrowedModel:
    """Build the model that lm-eval's backend makes of its arguments.

    Raises:
        SpecError: there is no such backend, or it cannot be made here.
        EvidenceError: the weights have changed since the model was named.
    """
    arguments = dict(borrowed.arguments)
    if borrowed.weights and weights_digest(Path(str(arguments[LOCAL]))) != borrowed.weights:
        raise EvidenceError(
            f"{arguments[LOCAL]}: its weights have changed since {PREFIX}{borrowed.backend} "
            "was named; name it again"
        )
    if borrowed.backend in OF_TRANSFORMERS:
        import torch

        arguments.setdefault("dtype", dtype)
        arguments.setdefault("device", "cuda" if torch.cuda.is_available() else "cpu")
    kind = _backend(borrowed.backend)
    try:
        with quiet(), patient_bars():
            lm = kind.create_from_arg_obj(arguments)
    except Exception as error:
        raise SpecError(
            f"{PREFIX}{borrowed.backend}: lm-eval cannot make this model "
            f"({type(error).__name__}: {' '.join(str(error).split()):.200}); correct its "
            "arguments, or install what the backend needs"
        ) from error
    return BorrowedModel(lm, digest=borrowed.digest, conditions=borrowed.conditions)


def _backend(name: str) -> Any:  # noqa: ANN401 - a class of an untyped library
    from lm_eval.api.registry import get_model
    from lm_eval.models import MODEL_MAPPING

    if name not in MODEL_MAPPING:
        near = difflib.get_close_matches(name, MODEL_MAPPING, n=3, cutoff=0.5)
        hint = f"; the nearest are {', '.join(near)}" if near else ""
        raise SpecError(f"{PREFIX}{name}: lm-eval has no such backend{hint}")
    try:
        return get_model(name)
    except ImportError as error:
        raise SpecError(
            f"{PREFIX}{name}: lm-eval's backend needs a package that is not here ({error}); "
            "install it"
        ) from error


def _move_spaces(context: str, text: str) -> tuple[str, str]:
    """Trailing spaces of a context belong to its continuation; not every `LM` sees to it."""
    kept = context.rstrip()
    return kept, context[len(kept) :] + text


def _finite(logprob: Any, text: str) -> float:  # noqa: ANN401 - what a library answered
    value = float(logprob)
    if not math.isfinite(value):
        raise MeasureError(
            f"{text[:60]!r}: lm-eval's model gave a log-probability that is not finite; its "
            "weights are damaged or its arithmetic overflowed"
        )
    return value


def _until(text: str, stop: Sequence[str]) -> str:
    ends = [at for each in stop if each and (at := text.find(each)) >= 0]
    return text[: min(ends)] if ends else text
