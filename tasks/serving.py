"""How does a registered version answer requests? The loader that MLflow calls by name."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from audits.errors import AuditError, SpecError
from audits.model import LanguageModel

if TYPE_CHECKING:
    import pandas as pd

PROMPT = "prompt"
DEFAULTS = {"max_new_tokens": 64, "temperature": 0.0, "seed": 0}


class TextModel:
    """A language model as `mlflow.pyfunc` wants it: a table in, a list out."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    def predict(
        self, data: "pd.DataFrame", params: Mapping[str, object] | None = None
    ) -> list[str]:
        """Continue each prompt.

        Args:
            data: a column `prompt` of text.
            params: `max_new_tokens` (64), `temperature` (0, greedy) and `seed` (0).
                The same request with the same seed gets the same answer.

        Returns:
            One continuation per row, in order, without the prompt.

        Raises:
            SpecError: no such column, a prompt that is no text, or a parameter that is not
                known or out of range.
            AuditError: a prompt is no Unicode text, or more is asked than the model can do.
        """
        if PROMPT not in data:
            raise SpecError(
                f"the request has columns {list(data)}; send one column named {PROMPT!r}"
            )
        tokens, temperature, seed = _options(params or {})
        prompts = list(data[PROMPT])
        for row, prompt in enumerate(prompts):
            if not isinstance(prompt, str):
                raise SpecError(f"prompt {row} is {prompt!r}; send text")
        samples = self._model.generate(
            prompts,
            max_new_tokens=tokens,
            temperature=temperature,
            seed=seed,
        )
        return [texts[0] for texts in samples]


def _options(params: Mapping[str, object]) -> tuple[int, float, int]:
    if unknown := sorted(params.keys() - DEFAULTS.keys()):
        raise SpecError(f"parameters {unknown} are not known; there are {sorted(DEFAULTS)}")
    given = {name: str(params.get(name, default)) for name, default in DEFAULTS.items()}
    try:
        tokens, seed = int(given["max_new_tokens"]), int(given["seed"])
        temperature = float(given["temperature"])
    except ValueError as error:
        raise SpecError(f"a parameter is no number ({error}); send numbers") from error
    if not 1 <= tokens <= 4096:
        raise SpecError(f"max_new_tokens is {tokens}; ask for 1 to 4096")
    if not 0 <= temperature <= 10:
        raise SpecError(f"temperature is {temperature}; ask for 0 to 10")
    if seed < 0:
        raise SpecError(f"seed is {seed}; give 0 or more")
    return tokens, temperature, seed


class Served:
    """A model behind MLflow's server, which tells clients only what MLflow's errors say."""

    def __init__(self, model: TextModel) -> None:
        self._model = model

    def predict(
        self, data: "pd.DataFrame", params: Mapping[str, object] | None = None
    ) -> list[str]:
        """See `TextModel.predict`; what is wrong with a request is answered with 400."""
        from registry.mlflow_store import bad_request

        try:
            return self._model.predict(data, params)
        except (SpecError, AuditError) as error:
            raise bad_request(error) from error


def _load_pyfunc(path: str) -> Served:
    """Called by `mlflow.pyfunc.load_model` with the folder of the weights."""
    from tasks.models.load import load

    return Served(TextModel(load(path)))
