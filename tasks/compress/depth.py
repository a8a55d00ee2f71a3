"""Remove whole layers that change little (Men et al., arXiv:2403.03853)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveInt

from audits.errors import SpecError
from tasks.compress.calibration import Calibrated

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tasks.compress.folder import Applied, Source
    from tasks.compress.walk import Batch

SHRUNK = "num_hidden_layers"


class Depth(Calibrated):
    """Keep the blocks with the most influence.

    Block influence (equation 1 of the paper, and Minitron's, arXiv:2407.14679 section 2.2):
    one minus the mean, over all calibration tokens, of the cosine between what enters a block
    and what leaves it; 0 is a block that changes no direction. All blocks are judged in the
    whole model, once. The file, the memory and the time of a run shrink.
    """

    version: ClassVar[int] = 1

    kind: Literal["depth"] = "depth"
    layers: PositiveInt
    """Blocks that are kept."""

    def apply(self, source: "Source") -> "Applied":
        """Write a model of the same family with fewer blocks.

        Raises:
            SpecError: More blocks are to be kept than are there, blocks of this family cannot
                be told apart or renumbered, or there is too little text.
        """
        from tasks.compress.rebuild import require_equal, save
        from tasks.compress.width import most_active

        seen = self.documents(source)
        model = source.load()
        names = self._blocks(model)
        scores = influence(model, seen)
        kept = most_active(scores, self.layers).tolist()
        before = model.num_parameters()
        made = _rebuilt(model, kept)
        _bypass(model, kept)
        require_equal(model, made, seen, what=SHRUNK)
        shown = dict(zip(names, scores.tolist(), strict=True))
        return save(made, before, source, {"kept": kept, "block_influence": shown}, {})

    def outline(self, source: "Source", model: "PreTrainedModel") -> "PreTrainedModel":
        """The same with fewer blocks, the first ones.

        Raises:
            SpecError: As `apply`, but for the text.
        """
        self._blocks(model)
        return _rebuilt(model, range(self.layers))

    def _blocks(self, model: "PreTrainedModel") -> list[str]:
        """Names of the blocks that are there, no fewer than are to be kept."""
        from tasks.compress.blocks import blocks_of

        names = list(blocks_of(model))
        if self.layers > len(names):
            raise SpecError(
                f"layers: {self.layers} are to be kept where {len(names)} are; keep at most "
                f"{len(names)}"
            )
        return names


def influence(model: "PreTrainedModel", seen: "Sequence[Batch]") -> "torch.Tensor":
    """By block, one minus the mean cosine between what enters and what leaves."""
    import torch

    from tasks.compress.blocks import blocks_of
    from tasks.compress.walk import through

    blocks = blocks_of(model)
    total = dict.fromkeys(blocks, 0.0)

    def see(name: str, before: "torch.Tensor", after: "torch.Tensor") -> None:
        cosines = torch.nn.functional.cosine_similarity(before, after, dim=-1)
        total[name] += float(cosines.double().sum())

    with torch.no_grad(), through(blocks, see):
        for batch in seen:
            model(**batch, use_cache=False)
    n = sum(batch["input_ids"].numel() for batch in seen)
    return 1 - torch.tensor(list(total.values()), dtype=torch.float64) / n


def _rebuilt(model: "PreTrainedModel", kept: Sequence[int]) -> "PreTrainedModel":
    from tasks.compress.rebuild import rebuild

    return rebuild(model, _config(model, kept), _renumbered(model, kept), what=SHRUNK)


def _config(model: "PreTrainedModel", kept: Sequence[int]) -> dict[str, object]:
    """The depth, and what the config says of each layer."""
    types = getattr(model.config, "layer_types", None)
    listed = {"layer_types": [types[at] for at in kept]} if types else {}
    return {"num_hidden_layers": len(kept), **listed}


def _renumbered(model: "PreTrainedModel", kept: Sequence[int]) -> "Mapping[str, torch.Tensor]":
    from tasks.compress.blocks import blocks_of

    names = list(blocks_of(model))
    new = {f"{names[old]}.": f"{names[at]}." for at, old in enumerate(kept)}
    gone = tuple(f"{name}." for name in names if f"{name}." not in new)
    state = {}
    for name, tensor in model.state_dict().items():
        if not name.startswith(gone):
            old = next((prefix for prefix in new if name.startswith(prefix)), "")
            state[new.get(old, "") + name.removeprefix(old)] = tensor
    return state


def _bypass(model: "PreTrainedModel", kept: Sequence[int]) -> None:
    """Take the other blocks out of the original, in place; those that stay keep all else."""
    import torch

    from tasks.compress.blocks import blocks_of

    blocks = blocks_of(model)
    parent, _, last = next(iter(blocks)).rpartition(".")[0].rpartition(".")
    left = torch.nn.ModuleList(list(blocks.values())[at] for at in kept)
    setattr(model.get_submodule(parent), last, left)
