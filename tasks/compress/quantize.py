"""Store weights in few bits, rounded one by one (RTN) or with error correction (GPTQ)."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from audits.errors import SpecError, StageError
from audits.settings import Settings

if TYPE_CHECKING:
    from tasks.compress.folder import Applied, Source

Bits = Literal[3, 4, 8]


class Rtn(Settings):
    """Round every weight to the nearest of 2^bits levels; looks at no text.

    Weights are symmetric integers with one scale per `group_size` inputs, or one per
    output where `group_size` is null. The head and the embedding keep full precision.
    """

    version: ClassVar[int] = 1

    kind: Literal["rtn"] = "rtn"
    bits: Bits
    group_size: PositiveInt | None = 128

    def apply(self, source: "Source") -> "Applied":
        """Write packed weights that transformers loads through compressed-tensors.

        Raises:
            SpecError: A group does not divide a layer's width.
        """
        from tasks.compress.oneshot import quantize, rounding

        return quantize(rounding(), source, bits=self.bits, group_size=self.group_size)


class Gptq(Settings):
    """Quantize column by column and let later columns make up for the error.

    Frantar et al., arXiv:2210.17323. What reaches each layer comes from the dataset's
    calibration text. The head and the embedding keep full precision.
    """

    version: ClassVar[int] = 1

    kind: Literal["gptq"] = "gptq"
    bits: Bits
    group_size: PositiveInt | None = 128
    """Inputs that share a scale; null gives one scale per output."""
    act_order: bool = True
    """Take columns with large inputs first; costs nothing at run time."""
    dampening: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Share of the mean diagonal that is added to the Hessian."""
    samples: PositiveInt = 256
    """Calibration documents, the first ones of the set."""
    sequence_length: Annotated[int, Field(ge=8)] = 256
    """Longer documents are cut to so many tokens."""

    def apply(self, source: "Source") -> "Applied":
        """Write packed weights that transformers loads through compressed-tensors.

        Raises:
            SpecError: A group does not divide a layer's width, or there is no text.
            StageError: A layer's Hessian could not be inverted: the library would have
                rounded it to nearest, which is another method.
        """
        from tasks.compress.calibration import batches
        from tasks.compress.oneshot import correcting, quantize

        if not source.texts:
            raise SpecError(
                "method gptq: the dataset's set 'calibration' holds no documents; add some or "
                "choose method rtn, which needs none"
            )
        modifier = correcting(act_order=self.act_order, dampening=self.dampening)
        seen = batches(source, samples=self.samples, length=self.sequence_length)
        applied = quantize(
            modifier, source, bits=self.bits, group_size=self.group_size, seen=seen
        )
        if fallen := applied.remarks["rounded_instead"]:
            raise StageError(
                f"method gptq: the Hessian of {fallen} could not be inverted; give more "
                f"calibration text or raise dampening (now {self.dampening})"
            )
        return applied
