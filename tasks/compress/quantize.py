"""Store weights in few bits: rounded, with error correction, or scaled to lose less."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from audits.errors import StageError
from audits.settings import Settings
from tasks.compress.calibration import Calibrated

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tasks.compress.balance import Kind
    from tasks.compress.folder import Applied, Source
    from tasks.compress.scheme import Scheme

Bits = Literal[2, 3, 4, 8]
KvCache = Literal["fp8", "int8", "int4"]
"""What keys and values are rounded to as the model runs: `fp8` with one scale per layer, as
vLLM runs it, or integers with one per head. All scales come from the calibration text."""


PACKS = "packs weights that no step can read"
"""Why nothing follows in a chain."""


class Grid(Settings):
    """The levels that weights of linear layers are rounded to; the head keeps its own."""

    ends: ClassVar[str] = PACKS

    bits: Bits
    group_size: PositiveInt | None = 128
    """Inputs that share a scale; null gives one scale per output."""
    symmetric: bool = True
    """Levels lie evenly about zero; otherwise each group has a zero point of its own."""

    def scheme(self) -> "Scheme":
        """How finely weights, and keys and values where asked, are rounded."""
        from tasks.compress.scheme import Scheme

        kept: KvCache | None = getattr(self, "kv_cache", None)
        return Scheme(self.bits, self.group_size, symmetric=self.symmetric, kv_cache=kept)

    def outline(self, source: "Source", model: "PreTrainedModel") -> "PreTrainedModel":
        """The same shapes: groups divide every width, and the library can do this to all.

        Raises:
            SpecError: As `apply`, but for the text.
        """
        return _quantizable(model, self.scheme(), None)


class Rtn(Grid):
    """Round every weight to the nearest of 2^bits levels; looks at no text.

    Weights are integers with one scale per `group_size` inputs, or one per output where
    `group_size` is null. The head and the embedding keep full precision.
    """

    version: ClassVar[int] = 2

    kind: Literal["rtn"] = "rtn"

    def apply(self, source: "Source") -> "Applied":
        """Write packed weights that transformers loads through compressed-tensors.

        Raises:
            SpecError: A group does not divide a layer's width.
        """
        from tasks.compress.oneshot import quantize, rounding

        return quantize(rounding(), source, self.scheme())


class Gptq(Grid, Calibrated):
    """Quantize column by column and let later columns make up for the error.

    Frantar et al., arXiv:2210.17323. What reaches each layer comes from the dataset's
    calibration text. The head and the embedding keep full precision.
    """

    version: ClassVar[int] = 2
    instead: ClassVar[str] = "rtn"

    kind: Literal["gptq"] = "gptq"
    act_order: bool = True
    """Take columns with large inputs first; costs nothing at run time."""
    dampening: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Share of the mean diagonal that is added to the Hessian."""
    kv_cache: KvCache | None = None
    samples: PositiveInt = 256
    """Calibration documents, the first ones of the set."""

    def apply(self, source: "Source") -> "Applied":
        """Write packed weights that transformers loads through compressed-tensors.

        Raises:
            SpecError: A group does not divide a layer's width, or there is too little text.
            StageError: A layer's Hessian could not be inverted: the library would have
                rounded it to nearest, which is another method.
        """
        from tasks.compress.oneshot import correcting, quantize

        seen = self.documents(source)
        modifier = correcting(act_order=self.act_order, dampening=self.dampening)
        applied = quantize(modifier, source, self.scheme(), seen=seen)
        if fallen := applied.remarks["rounded_instead"]:
            raise StageError(
                f"method gptq: the Hessian of {fallen} could not be inverted; give more "
                f"calibration text or raise dampening (now {self.dampening})"
            )
        return applied


class Awq(Grid, Calibrated):
    """Give inputs that are large in the text finer weights, by scales moved between layers.

    Lin et al., arXiv:2306.00978: before rounding, the weights that read an input are
    multiplied by its scale and what makes that input is divided by it, which changes nothing
    else. The scale is a power of the input's mean size (and, in llmcompressor, of the
    weights': `duo_scaling`), the power with the least squared error of what the block gives.
    Families that llmcompressor has no pairs of layers for are refused.
    """

    version: ClassVar[int] = 1
    instead: ClassVar[str] = "rtn"

    kind: Literal["awq"] = "awq"
    grid: Annotated[int, Field(ge=3)] = 20
    """Scales tried for each pair of layers; no scale is the first of them."""
    kv_cache: KvCache | None = None

    def apply(self, source: "Source") -> "Applied":
        """Write packed weights that transformers loads through compressed-tensors.

        Raises:
            SpecError: A group does not divide a layer's width, there is too little text, or
                it is not known how to move scales in a model of this family.
            StageError: The scales changed the model.
        """
        from tasks.compress.oneshot import activation_aware, quantize, rounding

        seen = self.documents(source)
        scaling = activation_aware(grid=self.grid)
        return quantize(rounding(), source, self.scheme(), seen=seen, scaling=scaling)

    def outline(self, source: "Source", model: "PreTrainedModel") -> "PreTrainedModel":
        """The same shapes, in which the library has pairs of layers to move scales between.

        Raises:
            SpecError: As `apply`, but for the text, and for pairs that change the model.
        """
        return _quantizable(model, self.scheme(), "awq")


class SmoothQuant(Calibrated):
    """Round weights and what enters each layer to 8 bits, outliers moved into the weights.

    Xiao et al., arXiv:2211.10438, equation 4: an input is divided by
    max|X|^strength / max|W|^(1 - strength) and the weights that read it are multiplied.
    llmcompressor takes the range of X, from least to largest, and twice max|W|: at one half
    the same for inputs around zero. Weights have one scale per output, inputs one per token,
    found as the model runs. transformers rounds the inputs and then multiplies floats: the
    loss is that of integer arithmetic, the time is not.
    """

    version: ClassVar[int] = 1
    instead: ClassVar[str] = "rtn"
    ends: ClassVar[str] = PACKS

    kind: Literal["smoothquant"] = "smoothquant"
    strength: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How much of the range goes into the weights: the paper's alpha."""
    kv_cache: KvCache | None = None

    def apply(self, source: "Source") -> "Applied":
        """Write 8-bit weights that transformers loads through compressed-tensors.

        Raises:
            SpecError: There is too little text, or it is not known how to move scales in a
                model of this family.
            StageError: The scales changed the model.
        """
        from tasks.compress.oneshot import quantize, rounding, smoothing

        seen = self.documents(source)
        scaling = smoothing(strength=self.strength)
        return quantize(rounding(), source, self.scheme(), seen=seen, scaling=scaling)

    def scheme(self) -> "Scheme":
        """How finely weights, inputs, and keys and values where asked, are rounded."""
        from tasks.compress.scheme import Scheme

        return Scheme(8, None, inputs=8, kv_cache=self.kv_cache)

    def outline(self, source: "Source", model: "PreTrainedModel") -> "PreTrainedModel":
        """The same shapes, in which the library has pairs of layers to move scales between.

        Raises:
            SpecError: As `apply`, but for the text, and for pairs that change the model.
        """
        return _quantizable(model, self.scheme(), "smoothquant")


def _quantizable(
    model: "PreTrainedModel", scheme: "Scheme", scaled: "Kind | None"
) -> "PreTrainedModel":
    """The model itself, unless it cannot be quantized like this."""
    from tasks.compress.balance import pairs
    from tasks.compress.scheme import require_quantizable

    require_quantizable(model, scheme)
    if scaled is not None:
        pairs(scaled, model)
    return model
