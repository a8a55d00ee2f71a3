"""How large is a network, and how far does it see?"""

from typing import Any


def n_parameters(hf: Any) -> int:  # noqa: ANN401 - an untyped torch module
    """Number of weights, tied ones once; scales of quantized ones do not count."""
    extra = ("_scale", "_zero_point", "_g_idx", "_global_scale")
    named = hf.named_parameters()
    return sum(p.numel() for name, p in named if not name.endswith(extra))


def max_length(config: Any, tokenizer: Any) -> int:  # noqa: ANN401 - untyped library objects
    """Positions the model has, where lm-eval looks for them too."""
    text = config.get_text_config()
    for name in ("n_positions", "max_position_embeddings", "n_ctx"):
        if value := getattr(text, name, None):
            return int(value)
    stated = int(tokenizer.model_max_length)
    return stated if stated < 10**9 else 2048
