"""What a student is asked to be like: pure functions of tensors, each with its paper.

All divergences are in nats per token and lower is better. Logits are (tokens, vocabulary), of
the positions whose next token counts.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Mean = Literal["geometric", "arithmetic"]


def soft_targets(
    logits: "Sequence[torch.Tensor]",
    *,
    temperature: float,
    weights: Sequence[float] | None = None,
    mean: Mean = "geometric",
) -> "torch.Tensor":
    """Log-probabilities that one or several teachers give together, softened by a temperature.

    Hinton et al. (arXiv:1503.02531), section 1: the soft targets of an ensemble are the
    arithmetic or geometric mean of the individual distributions. The geometric one, made to
    sum to 1, is the softmax of the mean logits: what the published code of BabyLlama
    (arXiv:2308.02019) computes. `weights` are relative; equal where none are given.

    Returns:
        A tensor (tokens, vocabulary), in nats.
    """
    import torch

    shares = torch.tensor(weights or [1.0] * len(logits), dtype=torch.float32)
    shares = (shares / shares.sum()).to(logits[0].device)[:, None, None]
    each = torch.stack([(one.float() / temperature).log_softmax(-1) for one in logits])
    if mean == "geometric":
        return (shares * each).sum(0).log_softmax(-1)
    mixed: torch.Tensor = torch.logsumexp(each + shares.log(), 0)
    return mixed


def forward_kl(
    student: "torch.Tensor", targets: "torch.Tensor", *, temperature: float
) -> "torch.Tensor":
    """T² · KL(teachers ‖ student) at temperature T, the mean over tokens.

    Hinton et al. (arXiv:1503.02531), section 2: their cross-entropy with soft targets less the
    targets' own entropy, which has no gradient. The factor T² keeps the gradient's size when T
    changes; by equation 4, as T grows, it is that of half the mean squared difference of
    logits, each centred.

    Args:
        student: logits, not yet divided by T.
        targets: log-probabilities of `soft_targets` at the same T.
        temperature: T.
    """
    said = (student.float() / temperature).log_softmax(-1)
    return temperature**2 * (targets.exp() * (targets - said)).sum(-1).mean()


def reverse_kl(
    student: "torch.Tensor", targets: "torch.Tensor", *, temperature: float
) -> "torch.Tensor":
    """T² · KL(student ‖ teachers) at temperature T, the mean over tokens; as `forward_kl`.

    The expectation over the next token is exact. Over text that is given this is GKD
    (arXiv:2306.13649) with reverse KL and λ = 0; over the student's own text it is that with
    λ = 1, and the single-step part of MiniLLM's gradient (arXiv:2306.08543, section 2.2).
    Neither is the whole of MiniLLM, which adds, by policy gradient, what a token does to those
    after it.
    """
    said = (student.float() / temperature).log_softmax(-1)
    return temperature**2 * (said.exp() * (said - targets)).sum(-1).mean()


def layer_map(student: int, teacher: int) -> tuple[int, ...]:
    """Which of the teacher's layers each of the student's is to be like; 0 is the embedding.

    The uniform map of TinyBERT (arXiv:1909.10351), m · N / M, rounded down where M does not
    divide N; the last is like the last.
    """
    return tuple(at * teacher // student for at in range(student + 1))


def state_loss(
    student: "torch.Tensor", teacher: "torch.Tensor", mask: "torch.Tensor"
) -> "torch.Tensor":
    """Mean squared difference of hidden states (documents, tokens, width) over real tokens.

    TinyBERT (arXiv:1909.10351), equations 8 and 9; where the widths differ the student's come
    multiplied by the projection W.
    """
    squares = (student.float() - teacher.float()).square().mean(-1)
    return squares[mask.bool()].mean()


def attention_loss(
    student: "torch.Tensor", teacher: "torch.Tensor", mask: "torch.Tensor"
) -> "torch.Tensor":
    """Mean squared difference of attention (documents, heads, tokens, tokens), head by head.

    TinyBERT (arXiv:1909.10351), equation 7, over the pairs of real tokens. The paper compares
    scores before the softmax, which transformers does not hand out; these are the probabilities
    after it, which the paper found to learn more slowly.
    """
    real = mask.bool()
    pairs = (real[:, :, None] & real[:, None, :])[:, None].expand_as(student)
    return (student.float() - teacher.float()).square()[pairs].mean()
