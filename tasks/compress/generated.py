"""Text that a model writes on from given beginnings, to be trained on."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PositiveInt, model_validator

from audits.errors import SpecError
from audits.settings import Settings
from tasks.compress.training import IGNORED, Rows

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tasks.compress.walk import Batch

TOGETHER = 32
"""Prompts that are continued side by side."""


class Generation(Settings):
    """How text is continued."""

    prompt_tokens: PositiveInt = 16
    """Documents begin the text with so many tokens; shorter ones begin none."""
    new_tokens: PositiveInt = 64
    """Tokens that follow, fewer where the model ends its text."""
    temperature: Annotated[float, Field(ge=0, le=10)] = 1.0
    """1 draws from the model as it is; 0 takes the likeliest."""
    beams: PositiveInt = 1
    """Beams of a search for the likeliest text, where temperature is 0."""

    @model_validator(mode="after")
    def _fits(self) -> "Generation":
        if self.beams > 1 and self.temperature > 0:
            raise ValueError("beams search for the likeliest text: write temperature: 0")
        return self


@dataclass(frozen=True, slots=True)
class Written:
    """A text and the beginning of it that was given."""

    prompt: str
    text: str


def require_positions(model: "PreTrainedModel", how: Generation, whose: str) -> None:
    """Refuse texts longer than a model can read.

    Raises:
        SpecError: It has fewer positions than `prompt_tokens` and `new_tokens` together.
    """
    most = getattr(model.config, "max_position_embeddings", None)
    asked = how.prompt_tokens + how.new_tokens
    if isinstance(most, int) and asked > most:
        raise SpecError(
            f"generation: {how.prompt_tokens} prompt_tokens and {how.new_tokens} new_tokens "
            f"are {asked}, and {whose} has {most} positions; ask for fewer"
        )


def prompts_of(batch: "Sequence[Batch]", how: Generation) -> "torch.Tensor":
    """The beginnings of documents that are long enough: (documents, prompt_tokens)."""
    import torch

    n = how.prompt_tokens
    rows = [one["input_ids"][0, :n] for one in batch if one["input_ids"].shape[1] >= n]
    return torch.stack(rows) if rows else torch.zeros(0, n, dtype=torch.long)


def continued(
    model: "PreTrainedModel", prompts: "torch.Tensor", how: Generation, seed: int
) -> Rows:
    """Continue prompts (documents, tokens); what was given and what follows an end is no label.

    Equal models, prompts and seeds give equal texts; no gradient flows through the drawing.
    """
    import torch
    from transformers import GenerationConfig

    from tasks.models.quiet import quiet

    ends = _ends(model)
    drawn = {"do_sample": True, "temperature": how.temperature, "top_k": 0, "top_p": 1.0}
    asked = GenerationConfig(
        max_new_tokens=how.new_tokens,
        num_beams=how.beams,
        eos_token_id=ends or None,
        pad_token_id=0,
        **(drawn if how.temperature > 0 else {"do_sample": False}),
    )
    # transformers fills what we leave open from the folder's generation_config.json
    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(seed)
            ids = model.generate(
                prompts, attention_mask=torch.ones_like(prompts), generation_config=asked
            )
    finally:
        model.generation_config = own
    given = prompts.shape[1]
    ended = torch.isin(ids, torch.tensor(ends, dtype=torch.long))
    ended[:, :given] = False
    mask = (ended.cumsum(-1) - ended.long() == 0).long()
    labels = ids.masked_fill(mask == 0, IGNORED)
    labels[:, :given] = IGNORED
    return Rows(ids, mask, labels)


def write(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    texts: Sequence[str],
    how: Generation,
    seed: int,
) -> list[Written]:
    """Let a model write on from the beginnings of these texts.

    Raises:
        SpecError: No text is as long as a beginning, or the model has too few positions.
    """
    import torch

    encoded = tokenizer(list(texts), truncation=True, max_length=how.prompt_tokens)
    prompts = prompts_of([{"input_ids": torch.tensor([i])} for i in encoded["input_ids"]], how)
    if not len(prompts):
        raise SpecError(
            f"generation: no calibration document has {how.prompt_tokens} tokens to begin a "
            "text with; lower prompt_tokens or give longer documents"
        )
    found = []
    for at in range(0, len(prompts), TOGETHER):
        rows = continued(model, prompts[at : at + TOGETHER], how, seed + at)
        for ids, mask in zip(rows.ids, rows.mask, strict=True):
            prompt = _decoded(tokenizer, ids[: how.prompt_tokens])
            found.append(Written(prompt, _decoded(tokenizer, ids[mask == 1])))
    return found


def documents(
    written: Sequence[Written], tokenizer: "PreTrainedTokenizerBase", length: int
) -> "list[Batch]":
    """The texts in the student's tokens, cut to `length`; their beginnings are no labels.

    Where the tokens of a beginning do not end where it does, the label after it is one early
    or late.
    """
    import torch

    found: list[Batch] = []
    for one in written:
        ids = tokenizer(one.text, truncation=True, max_length=length)["input_ids"]
        given = len(tokenizer(one.prompt)["input_ids"])
        if given < len(ids):
            labels = [IGNORED] * given + ids[given:]
            found.append({"input_ids": torch.tensor([ids]), "labels": torch.tensor([labels])})
    return found


def keep(written: Sequence[Written], file: Path) -> str:
    """Write the texts as JSON lines; returns the SHA-256 of the file."""
    lines = [json.dumps({"prompt": w.prompt, "text": w.text}) + "\n" for w in written]
    text = "".join(lines)
    file.write_text(text, "utf-8")
    return hashlib.sha256(text.encode()).hexdigest()


def _ends(model: "PreTrainedModel") -> list[int]:
    """The tokens that end a text, as generation_config.json says, or else the config."""
    for config in (model.generation_config, model.config):
        named = getattr(config, "eos_token_id", None)
        if named is not None:
            return [named] if isinstance(named, int) else list(named)
    return []


def _decoded(tokenizer: "PreTrainedTokenizerBase", ids: "torch.Tensor") -> str:
    return str(
        tokenizer.decode(
            ids.tolist(), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
    )
