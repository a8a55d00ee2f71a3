"""A model of another shape from the weights that remain of one, proved on real text."""

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from audits.errors import SpecError
from tasks.models.outline import probe

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tasks.compress.folder import Applied, Source
    from tasks.compress.walk import Batch

TOLERANCE = 1e-3
"""Largest difference of a logit, per largest logit, between two ways to sum in float32."""


def rebuild(
    model: "PreTrainedModel",
    config: Mapping[str, object],
    state: "Mapping[str, torch.Tensor]",
    *,
    what: str,
) -> "PreTrainedModel":
    """A model of the same class with a changed config and exactly these weights.

    Raises:
        SpecError: The changed config is none the family allows, or describes other shapes:
            it has no field for what is left of `what`.
    """
    made = fresh(model, config, what=what, seed=0)
    shapes = {name: tensor.shape for name, tensor in made.state_dict().items()}
    if shapes != {name: tensor.shape for name, tensor in state.items()}:
        raise SpecError(_refusal(model, what))
    made.load_state_dict(dict(state))
    return made


def fresh(
    model: "PreTrainedModel", config: Mapping[str, object], *, what: str, seed: int
) -> "PreTrainedModel":
    """A model of the same class with a changed config and random weights, in eval mode.

    Of an outline an outline.

    Raises:
        SpecError: The changed config is none the family allows.
    """
    import torch
    from huggingface_hub.errors import StrictDataclassError

    changed, batch = copy.deepcopy(model.config), probe(model)
    try:
        for name, value in config.items():
            setattr(changed, name, value)
        changed.validate()
        with torch.random.fork_rng(devices=[]), torch.no_grad(), torch.device(model.device):
            torch.manual_seed(seed)
            made: PreTrainedModel = type(model)(changed).eval()
            if batch is not None:
                made(**batch, use_cache=False)
    except (StrictDataclassError, ValueError, TypeError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise SpecError(f"{_refusal(model, what)} ({why:.200})") from error
    return made


def require_equal(
    masked: "PreTrainedModel", made: "PreTrainedModel", seen: "Sequence[Batch]", *, what: str
) -> None:
    """Refuse a rebuilt model unless it says what the original with the same parts off says.

    Raises:
        SpecError: It does not, on the first two documents.
    """
    import torch

    with torch.no_grad():
        for batch in seen[:2]:
            old = masked(**batch, use_cache=False).logits
            new = made(**batch, use_cache=False).logits
            if float((old - new).abs().max()) > TOLERANCE * float(old.abs().max()):
                raise SpecError(_refusal(masked, what))


def save(
    made: "PreTrainedModel",
    before: int,
    source: "Source",
    remarks: Mapping[str, object],
    errors: Mapping[str, float],
) -> "Applied":
    """Write the smaller model; `before` is how many parameters the original has."""
    from tasks.compress.blocks import linears_of, weight_of
    from tasks.compress.folder import Applied

    source.save(made)
    counts = {name: weight_of(layer).numel() for name, layer in linears_of(made).items()}
    sizes = {"parameters_before": before, "parameters_after": made.num_parameters()}
    return Applied(counts, {**sizes, **remarks}, errors)


def _refusal(model: "PreTrainedModel", what: str) -> str:
    return (
        f"model type {model.config.model_type!r} cannot have {what} like that: its config "
        "does not describe what would remain; keep another number, shrink something else, or "
        "choose another model"
    )
