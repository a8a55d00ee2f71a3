"""Calibration text through a model block by block, with all hooks in one place.

As in the reference code of SparseGPT (arXiv:2301.00774) and Wanda (arXiv:2306.11695): what
reaches a block has gone through the compressed blocks before it. Held at a time are the
hidden states between two blocks and the statistics of one block's layers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from audits.errors import SpecError, StageError
from tasks.compress.blocks import blocks_of, linears_of, weight_of
from tasks.compress.method import LayerMethod
from tasks.models.outline import probe

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Batch = Mapping[str, "torch.Tensor"]
HELD = 8
"""Documents, the first ones, whose inputs are kept to measure a layer's error on."""


class _Stop(Exception):
    """Ends a forward pass once what was wanted of it is there."""


@dataclass(slots=True)
class _State:
    """What goes into the next block for one document."""

    hidden: "torch.Tensor"
    more: tuple[Any, ...]
    named: Mapping[str, Any]


def rewrite(
    model: "PreTrainedModel",
    methods: Mapping[str, LayerMethod[Any]],
    seen: Sequence[Batch],
) -> dict[str, float]:
    """Compress the named layers in place, each by its method, from the first block to the last.

    Returns:
        By layer, `|WX - W'X|^2 / |WX|^2` (Frobenius; 0 is no loss) on identical inputs: the
        layer's own in the first `HELD` documents. A layer that gives zeros has none, and no
        layer has one where no document is given (then no method observes anything).

    Raises:
        SpecError: The blocks cannot be run one by one.
        StageError: A method failed on a layer.
    """
    import torch

    blocks = blocks_of(model)
    layers = linears_of(model)
    errors: dict[str, float] = {}
    with torch.no_grad():
        if seen:
            require_walk(model, seen[0])
        states = [_enter(model, blocks, batch) for batch in seen]
        for prefix, block in blocks.items():
            here = {n: layers[n] for n in methods if n.startswith(prefix + ".")}
            errors |= _rewrite_block(block, here, methods, states)
            for state in states:
                state.hidden = _run(block, state)
    return errors


def require_walk(model: "PreTrainedModel", batch: Batch) -> None:
    """Refuse blocks that, run one after another, do not give what the whole model gives.

    Raises:
        SpecError: They take more than what the first one is given, on this document.
    """
    import torch

    blocks = blocks_of(model)
    whole: list[Any] = []
    last = list(blocks.values())[-1]
    hook = last.register_forward_hook(lambda _, __, found: whole.append(found))
    with torch.no_grad():
        try:
            model(**batch, use_cache=False)
        finally:
            hook.remove()
        state = _enter(model, blocks, batch)
        try:
            for block in blocks.values():
                state.hidden = _run(block, state)
        except (TypeError, ValueError, RuntimeError, KeyError) as error:
            raise SpecError(_unwalkable(model)) from error
    if not _same(state.hidden, _hidden(whole[0])):
        raise SpecError(_unwalkable(model))


@lru_cache(maxsize=8)  # of outlines, which hold no weights
def require_steps(model: "PreTrainedModel") -> None:
    """Refuse, by an outline, blocks that cannot be run one after another.

    That they give other numbers than the whole model shows on real weights alone, and a
    family that cannot be run without weights is not refused.

    Raises:
        SpecError: There are no blocks, or they take more than hidden states.
    """
    blocks_of(model)
    batch = probe(model)
    if batch is not None:
        require_walk(model, batch)


def _same(stepped: "torch.Tensor", whole: "torch.Tensor") -> bool:
    """Whether numbers agree to rounding; of outlines, which have none, shapes."""
    import torch

    if stepped.device.type == "meta":
        return bool(stepped.shape == whole.shape)
    return bool(torch.allclose(stepped, whole, rtol=1e-4, atol=1e-4))


@contextmanager
def inputs_of(
    layers: "Mapping[str, torch.nn.Module]", see: "Callable[[str, torch.Tensor], None]"
) -> Iterator[None]:
    """While open, tell `see` each layer that runs: its name, its input (batch, tokens, in)."""
    hooks = [
        layer.register_forward_pre_hook(
            lambda _, given, name=name: see(name, given[0].detach())
        )
        for name, layer in layers.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def through(
    blocks: "Mapping[str, torch.nn.Module]",
    see: "Callable[[str, torch.Tensor, torch.Tensor], None]",
) -> Iterator[None]:
    """While open, tell `see` each block that runs: its name, what enters and what leaves."""

    def told(name: str, given: tuple[Any, ...], named: Mapping[str, Any], out: object) -> None:
        see(name, given[0] if given else named["hidden_states"], _hidden(out))

    hooks = [
        block.register_forward_hook(
            lambda _, given, named, out, name=name: told(name, given, named, out),
            with_kwargs=True,
        )
        for name, block in blocks.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def lost_share(
    old: "torch.Tensor", new: "torch.Tensor", held: "Sequence[torch.Tensor]"
) -> float | None:
    """`|WX - W'X|^2 / |WX|^2` for weights (out, in) and inputs (tokens, in); None for 0 / 0."""
    whole = sum(float((rows @ old.T).double().square().sum()) for rows in held)
    lost = sum(float((rows @ (old - new).T).double().square().sum()) for rows in held)
    return lost / whole if whole else None


def _rewrite_block(
    block: "torch.nn.Module",
    layers: "Mapping[str, torch.nn.Module]",
    methods: Mapping[str, LayerMethod[Any]],
    states: Sequence[_State],
) -> dict[str, float]:
    import torch

    stats = {name: methods[name].start(weight_of(layer)) for name, layer in layers.items()}
    held: dict[str, list[torch.Tensor]] = {name: [] for name in layers}

    def see(name: str, inputs: "torch.Tensor") -> None:
        rows = inputs.reshape(-1, inputs.shape[-1])
        stats[name] = methods[name].observe(stats[name], rows)
        if len(held[name]) < HELD:
            held[name].append(rows)

    if layers:
        with inputs_of(layers, see):
            for state in states:
                _run(block, state)
    errors = {}
    for name, layer in layers.items():
        old = weight_of(layer)
        try:
            new = methods[name].rewrite(old, stats.pop(name))
        except StageError as error:
            raise StageError(f"layer {name}: {error}") from error
        error_of = lost_share(old, new, held.pop(name))
        if error_of is not None:
            errors[name] = error_of
        old.copy_(new)
    return errors


def _enter(
    model: "PreTrainedModel", blocks: "Mapping[str, torch.nn.Module]", batch: Batch
) -> _State:
    """What the first block is given: hidden states, masks and positions."""
    caught: list[_State] = []

    def catch(_: object, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        if not given:
            raise SpecError(_unwalkable(model))
        caught.append(_State(given[0], given[1:], named))
        raise _Stop

    first = next(iter(blocks.values()))
    hook = first.register_forward_pre_hook(catch, with_kwargs=True)
    try:
        model(**batch, use_cache=False)
    except _Stop:
        pass
    finally:
        hook.remove()
    return caught[0]


def _run(block: "torch.nn.Module", state: _State) -> "torch.Tensor":
    return _hidden(block(state.hidden, *state.more, **state.named))


def _hidden(out: Any) -> "torch.Tensor":  # noqa: ANN401 - a tensor, or a tuple that begins with it
    import torch

    hidden = out if isinstance(out, torch.Tensor) else out[0]
    assert isinstance(hidden, torch.Tensor)
    return hidden


def _unwalkable(model: "PreTrainedModel") -> str:
    return (
        f"model type {model.config.model_type!r}: its blocks take more than the hidden states "
        "of the block before and cannot be run one by one; choose method magnitude or "
        "another model"
    )
