"""Remove whole neurons and heads by activation (Muralidharan et al., arXiv:2407.14679)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveInt, model_validator

from tasks.compress.calibration import Calibrated

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tasks.compress.folder import Applied, Source
    from tasks.compress.units import Units
    from tasks.compress.walk import Batch


class Width(Calibrated):
    """Keep, in every block, the heads and feed-forward neurons that are most active.

    Minitron's importance (its section 2.2): for a neuron the mean over tokens of its absolute
    activation, for a head the mean over tokens of the 2-norm of its output, each then the
    2-norm over documents. A neuron's activation is taken where it enters the layer down,
    behind the gate; heads that share keys and values stay or go together, by the sum of their
    importance. Config and weights shrink: so do the file, the memory and the time of a run.
    """

    version: ClassVar[int] = 1

    kind: Literal["width"] = "width"
    feed_forward: PositiveInt | None = None
    """Neurons that each block keeps; null keeps all."""
    heads: PositiveInt | None = None
    """Query heads that each block keeps; null keeps all."""

    @model_validator(mode="after")
    def _something(self) -> "Width":
        if self.feed_forward is None and self.heads is None:
            raise ValueError("say what shrinks: feed_forward, heads, or both")
        return self

    def apply(self, source: "Source") -> "Applied":
        """Write a smaller model of the same family.

        Raises:
            SpecError: More is to be kept than is there, groups of heads would be torn, the
                family's config cannot describe the result, or there is too little text.
        """
        from tasks.compress.rebuild import rebuild, require_equal, save

        seen = self.documents(source)
        model = source.load()
        units, config = self._shrunk(model)
        kept = {
            one.reader: most_active(scores, one.keep)
            for one, scores in zip(units, importance(model, units, seen), strict=True)
        }
        before, what = model.num_parameters(), ", ".join(config)
        made = rebuild(model, config, _cut(model, units, kept), what=what)
        errors = _switch_off(model, units, kept, seen)
        require_equal(model, made, seen, what=what)
        shown = {name: index.tolist() for name, index in kept.items()}
        return save(made, before, source, {"kept": shown}, errors)

    def outline(self, source: "Source", model: "PreTrainedModel") -> "PreTrainedModel":
        """The smaller shapes, whichever heads and neurons stay.

        Raises:
            SpecError: As `apply`, but for the text.
        """
        import torch

        from tasks.compress.rebuild import rebuild

        units, config = self._shrunk(model)
        kept = {one.reader: torch.arange(one.keep, device=model.device) for one in units}
        return rebuild(model, config, _cut(model, units, kept), what=", ".join(config))

    def _shrunk(self, model: "PreTrainedModel") -> "tuple[list[Units], dict[str, object]]":
        """What can go of every block, and what the config says once it is gone."""
        from tasks.compress.units import groups, neurons

        asked = ((neurons, self.feed_forward), (groups, self.heads))
        found = [find(model, keep) for find, keep in asked if keep is not None]
        units = [one for part, _ in found for one in part]
        return units, {name: value for _, part in found for name, value in part.items()}


def importance(
    model: "PreTrainedModel", units: "Sequence[Units]", seen: "Sequence[Batch]"
) -> "list[torch.Tensor]":
    """By entry of `units`, how active each of its units is over the documents."""
    import torch

    from tasks.compress.walk import inputs_of

    by_reader = {one.reader: one for one in units}
    squares = {one.reader: torch.zeros(one.n, one.heads) for one in units}

    def see(name: str, inputs: "torch.Tensor") -> None:
        one = by_reader[name]
        vectors = inputs.reshape(-1, one.n, one.heads, one.size)
        squares[name] += vectors.norm(dim=-1).mean(0).square()

    layers = {name: model.get_submodule(name) for name in by_reader}
    with torch.no_grad(), inputs_of(layers, see):
        for batch in seen:
            model(**batch, use_cache=False)
    return [squares[one.reader].sqrt().sum(-1) for one in units]


def most_active(scores: "torch.Tensor", keep: int) -> "torch.Tensor":
    """Indices of the `keep` highest in their old order; ties go to the lower index."""
    return scores.argsort(descending=True, stable=True)[:keep].sort().values


def _cut(
    model: "PreTrainedModel", units: "Sequence[Units]", kept: "Mapping[str, torch.Tensor]"
) -> "dict[str, torch.Tensor]":
    """The weights without the rows and columns of what goes; copies where anything goes."""
    state = dict(model.state_dict())
    for one in units:
        index = kept[one.reader]
        _select(model, state, one.reader, spread(index, one.heads * one.size), into=True)
        for name, rows in one.writers.items():
            _select(model, state, name, spread(index, rows), into=False)
    return state


def spread(index: "torch.Tensor", n: int) -> "torch.Tensor":
    """Indices of the `n` rows of each of these units: 2 of 3 rows is 6, 7, 8."""
    import torch

    return (index[:, None] * n + torch.arange(n, device=index.device)).flatten()


def _select(
    model: "PreTrainedModel",
    state: "dict[str, torch.Tensor]",
    name: str,
    index: "torch.Tensor",
    *,
    into: bool,
) -> None:
    """Keep some inputs or outputs of a layer; GPT-2's weights lie transposed."""
    import torch

    upright = isinstance(model.get_submodule(name), torch.nn.Linear)
    dim = int(into) if upright else 1 - int(into)
    state[f"{name}.weight"] = state[f"{name}.weight"].index_select(dim, index)
    if not into and f"{name}.bias" in state:
        state[f"{name}.bias"] = state[f"{name}.bias"].index_select(0, index)


def _switch_off(
    model: "PreTrainedModel",
    units: "Sequence[Units]",
    kept: "Mapping[str, torch.Tensor]",
    seen: "Sequence[Batch]",
) -> dict[str, float]:
    """Let the readers not read what goes, in place.

    Returns:
        By reader, `|WX - W'X|^2 / |WX|^2` on the inputs it has in the whole model, over the
        first documents; one that gives zeros has none.
    """
    import torch

    from tasks.compress.blocks import weight_of
    from tasks.compress.walk import HELD, inputs_of, lost_share

    layers = {one.reader: model.get_submodule(one.reader) for one in units}
    held: dict[str, list[torch.Tensor]] = {name: [] for name in layers}

    def see(name: str, inputs: "torch.Tensor") -> None:
        held[name].append(inputs.reshape(-1, inputs.shape[-1]))

    with torch.no_grad(), inputs_of(layers, see):
        for batch in seen[:HELD]:
            model(**batch, use_cache=False)
    errors = {}
    for one in units:
        weight = weight_of(layers[one.reader])
        columns = spread(kept[one.reader], one.heads * one.size)
        new = torch.zeros_like(weight).index_copy(1, columns, weight[:, columns])
        lost = lost_share(weight, new, held.pop(one.reader))
        if lost is not None:
            errors[one.reader] = lost
        weight.copy_(new)
    return errors
