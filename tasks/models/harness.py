"""Any model of ours, offered to lm-eval as one of its own."""

from collections.abc import Sequence
from typing import Any

from jinja2.exceptions import TemplateError
from lm_eval.api.model import LM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

from audits.errors import AuditError, SpecError
from audits.model import LanguageModel, require_generation
from tasks.models.asked import ScoresText

MAX_NEW_TOKENS = 256
"""What a task gets that does not say, as in lm-eval."""
_UNDERSTOOD = {"until", "max_gen_toks", "temperature", "do_sample"}
_NEUTRAL = {"top_p": 1.0, "top_k": 0, "num_beams": 1, "repetition_penalty": 1.0}
_OF_SAMPLING = {"top_p", "top_k", "min_p", "typical_p"}
"""What a task may say all the same where it decodes greedily: it changes nothing then."""


class HarnessModel(LM):  # type: ignore[misc]  # lm-eval carries no types
    """Adapter to `lm_eval.simple_evaluate(model=...)`.

    Log-likelihoods equal those of lm-eval's own `HFLM` (with its default `add_bos_token`)
    to 1e-3 nats, also rolling ones, where lm-eval scores the BOS a tokenizer adds.
    """

    def __init__(self, model: LanguageModel, *, seed: int = 0) -> None:
        super().__init__()
        self.model = model
        self.seed = seed
        self.truncated: dict[tuple[str | None, int | None], int | None] = {}
        """Tokens that the longest context of each document (task, number) lost on its left,
        as in lm-eval, for want of room; None where the model does not tell. Texts that are
        scored in windows lose none and are not listed."""

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """Sum of log-probabilities in nats, and whether greedy decoding would say the same."""
        scores = self.model.score([request.args for request in requests])
        for request, score in zip(requests, scores, strict=True):
            self._lost(request, score.truncated)
        return [(score.logprob, score.greedy) for score in scores]

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        """Log-probability in nats of whole texts, window after window.

        Raises:
            AuditError: the model cannot score whole texts.
        """
        if not isinstance(self.model, ScoresText):
            raise AuditError(
                f"task {requests[0].task_name}: this model cannot score whole texts; leave "
                "the task out"
            )
        texts = [request.args[0] for request in requests]
        return [score.logprob for score in self.model.score_text(texts, add_special=True)]

    def generate_until(self, requests: list[Any]) -> list[str]:
        """Continue each context until a stop string, with the settings its task gives.

        Raises:
            SpecError: a task asks for a way of decoding that we do not have (beams, top-k).
        """
        texts: dict[int, str] = {}
        for wanted, numbers in _by_settings(requests).items():
            until, max_new, temperature = wanted
            _require(requests[numbers[0]].task_name, self.seed, wanted)
            asked: dict[str, list[int]] = {}
            for i in numbers:
                asked.setdefault(requests[i].args[0], []).append(i)
            # A prompt that a task repeats wants as many samples: by itself it has one luck.
            for n in sorted({len(again) for again in asked.values()}):
                prompts = [prompt for prompt, again in asked.items() if len(again) == n]
                found = self.model.generate(
                    prompts, max_new_tokens=max_new, seed=self.seed, temperature=temperature,
                    stop=until, n=n if temperature else 1,
                )  # fmt: skip
                lost = self.model.truncated(prompts, max_new_tokens=max_new)
                for prompt, samples, tokens in zip(prompts, found, lost, strict=True):
                    for i in asked[prompt]:
                        self._lost(requests[i], tokens)
                    texts |= zip(asked[prompt], samples * (n // len(samples)), strict=True)
        return [texts[i] for i in range(len(requests))]

    def _lost(self, request: Any, tokens: int | None) -> None:  # noqa: ANN401 - untyped library
        document = request.task_name, request.doc_id
        before = self.truncated.get(document, 0)
        told = None if before is None or tokens is None else max(before, tokens)
        self.truncated[document] = told

    @property
    def tokenizer_name(self) -> str:
        """What request caches are told apart by."""
        return self.model.digest

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Render a conversation with the tokenizer's own template.

        A template that knows no system's turn gets the conversation without it, as in
        lm-eval's `HFLM`.

        Raises:
            SpecError: the tokenizer has no template, or it cannot render the conversation.
        """
        tokenizer = getattr(self.model, "tokenizer", None)
        if getattr(tokenizer, "chat_template", None) is None:
            raise SpecError(
                "evaluate: apply_chat_template: the model's tokenizer has no chat template; "
                "evaluate without one"
            )
        try:
            return _rendered(tokenizer, chat_history, add_generation_prompt)
        except TemplateError:
            bare = [turn for turn in chat_history if turn["role"] != "system"]
        try:
            return _rendered(tokenizer, bare, add_generation_prompt)
        except TemplateError as error:
            raise SpecError(
                f"evaluate: apply_chat_template: the tokenizer's template refuses the "
                f"conversation ({error}); evaluate without one"
            ) from error


def _rendered(tokenizer: Any, turns: Sequence[dict[str, str]], prompt: bool) -> str:  # noqa: ANN401
    return str(
        tokenizer.apply_chat_template(
            turns,
            tokenize=False,
            add_generation_prompt=prompt,
            continue_final_message=not prompt,
        )
    )


_Wanted = tuple[tuple[str, ...], int, float]


def _require(task: str | None, seed: int, wanted: _Wanted) -> None:
    until, max_new, temperature = wanted
    try:
        require_generation(
            (), max_new_tokens=max_new, seed=seed, temperature=temperature, n=1, stop=until
        )
    except SpecError as error:
        raise SpecError(f"task {task}: {error}") from error


def _by_settings(requests: Sequence[Any]) -> dict[_Wanted, list[int]]:
    """Numbers of the requests that are generated alike."""
    groups: dict[_Wanted, list[int]] = {}
    for i, request in enumerate(requests):
        given = dict(request.args[1])
        settings = normalize_gen_kwargs(given, MAX_NEW_TOKENS)
        if unknown := _unknown(settings):
            raise SpecError(
                f"task {request.task_name}: generation settings {unknown} are not supported; "
                f"use {sorted(_UNDERSTOOD)}"
            )
        until = tuple(handle_stop_sequences(settings.get("until"), eos=None))
        key = (until, int(settings["max_gen_toks"]), float(settings.get("temperature") or 0.0))
        groups.setdefault(key, []).append(i)
    return groups


def _unknown(settings: dict[str, Any]) -> list[str]:
    """Settings that would change what is said and that we do not have."""
    greedy = not settings.get("temperature")
    return sorted(
        name for name, value in settings.items()
        if name not in _UNDERSTOOD
        and _NEUTRAL.get(name) != value
        and not (greedy and name in _OF_SAMPLING)
    )  # fmt: skip
