"""Which shapes will the model have that is yet to be trained?"""

from pathlib import Path

from tasks.train.settings import TokenizerSettings, TrainSettings

BYTES = TokenizerSettings(vocab_size=258)
"""A tokenizer of the two special tokens and the 256 bytes."""


def outline_untrained(settings: TrainSettings, folder: Path) -> None:
    """Fill a folder with the shapes of the model that training will give, and no weights.

    Its tokenizer, yet to be learned, is one that merges nothing: it cuts no text into fewer
    tokens. So the embedding has too few rows, and every other shape is right.
    """
    import torch

    from tasks.models.outline import write_outline
    from tasks.train.loop import new_model
    from tasks.train.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(["a"], BYTES)
    with torch.device("meta"):
        model = new_model(settings, tokenizer)
    tokenizer.save_pretrained(str(folder))
    write_outline(model, folder)
