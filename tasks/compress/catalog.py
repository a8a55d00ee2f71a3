"""All methods a run file can name. To add one: a file, an import and a member here."""

from typing import Annotated

from pydantic import Field

from tasks.compress.depth import Depth
from tasks.compress.finetune import FineTune
from tasks.compress.gguf_export import Gguf
from tasks.compress.low_rank import ActivationSvd, Svd
from tasks.compress.magnitude import Magnitude
from tasks.compress.quantize import Gptq, Rtn
from tasks.compress.sparsegpt import SparseGpt
from tasks.compress.wanda import Wanda
from tasks.compress.width import Width

AnyMethod = Annotated[
    Gptq
    | Rtn
    | Magnitude
    | Wanda
    | SparseGpt
    | Width
    | Depth
    | Svd
    | ActivationSvd
    | FineTune
    | Gguf,
    Field(discriminator="kind"),
]
