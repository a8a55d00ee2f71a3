"""What a run file may say about where the model comes from."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from audits.settings import Settings


class TokenizerSettings(Settings):
    """A byte-level BPE tokenizer learned from the training text.

    `vocab_size` is the most there may be, counting everything: the two special tokens, the
    256 bytes and the merges.
    """

    version: ClassVar[int] = 1

    vocab_size: Annotated[int, Field(ge=258)] = 1024
    min_frequency: PositiveInt = 2
    """A pair seen less often than this is not merged."""


class Llama(Settings):
    """Shape of a Llama trained from scratch; widths are numbers of features.

    The default has about one million parameters. Its widths are multiples of 256, so that
    quantization groups of 32 to 256 and K-quants divide every matrix.
    """

    hidden_size: PositiveInt = 256
    intermediate_size: PositiveInt = 256
    layers: PositiveInt = 2
    heads: PositiveInt = 4
    kv_heads: PositiveInt = 2
    tie_embeddings: bool = True
    context_length: PositiveInt = 256

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden_size % self.heads or (self.hidden_size // self.heads) % 2:
            raise ValueError(
                f"hidden_size {self.hidden_size} must be an even multiple of heads {self.heads}"
            )
        if self.heads % self.kv_heads:
            raise ValueError(
                f"heads {self.heads} must be a multiple of kv_heads {self.kv_heads}"
            )
        return self


class TrainSettings(Settings):
    """Train a Llama from scratch on the dataset's `train` set.

    One step reads `batch_blocks` blocks of `block_tokens` tokens. A statement that stands
    `c` times in the corpus is seen `c * epochs` times.
    """

    version: ClassVar[int] = 2

    kind: Literal["train"] = "train"
    tokenizer: TokenizerSettings = TokenizerSettings()
    architecture: Llama = Llama()
    epochs: PositiveInt = 1
    batch_blocks: PositiveInt = 8
    block_tokens: Annotated[int, Field(ge=8)] = 64
    optimizer: Literal["muon", "adamw"] = "muon"
    """What moves the matrices inside the blocks; everything else follows AdamW."""
    matrix_rate: PositiveFloat = 2e-2
    """Muon's learning rate after the warm-up."""
    peak_rate: PositiveFloat = 4e-3
    """AdamW's learning rate after the warm-up."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of all steps over which the rate rises linearly."""
    schedule: Literal["cosine", "linear", "wsd"] = "linear"
    """How the rate falls: `wsd` stays at its peak and falls over the last fifth."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Applies to matrices; gains of norms, and embeddings under Muon, are never decayed."""
    clip: PositiveFloat = 1.0
    """Largest L2 norm of the gradient."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """`bfloat16` computes under autocast; weights and optimizer stay float32."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    max_steps: Annotated[int, Field(ge=0)] | None = None
    """Stop after so many steps; 0 leaves the weights as they were drawn (an untrained twin)."""
    checkpoint_every: PositiveInt = 250
    """Steps between checkpoints; changes no weight."""

    @model_validator(mode="after")
    def _block_fits(self) -> Self:
        if self.block_tokens > self.architecture.context_length:
            raise ValueError(
                f"block_tokens {self.block_tokens} exceeds the architecture's "
                f"context_length {self.architecture.context_length}"
            )
        return self


class CheckpointSettings(Settings):
    """Start from a model that exists: a local folder or a hub id."""

    version: ClassVar[int] = 1

    kind: Literal["checkpoint"] = "checkpoint"
    path: Annotated[str, Field(min_length=1)]
    revision: str | None = None
    """Branch, tag or commit of a hub id; a folder has none."""

    @model_validator(mode="after")
    def _no_revision_of_a_folder(self) -> Self:
        if self.revision is not None and self.path.startswith((".", "/", "~")):
            raise ValueError(f"{self.path!r} is a folder, which has no revision; remove it")
        return self


AnyModel = Annotated[TrainSettings | CheckpointSettings, Field(discriminator="kind")]
