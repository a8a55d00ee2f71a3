"""All methods a run file can name. To add one: a file, an import and a member here."""

from typing import Annotated

from pydantic import Field

from tasks.compress.depth import Depth
from tasks.compress.distill import Distill
from tasks.compress.finetune import FineTune
from tasks.compress.gguf_export import Gguf
from tasks.compress.low_rank import ActivationSvd, Svd
from tasks.compress.magnitude import Magnitude
from tasks.compress.qat import Qat
from tasks.compress.quantize import Awq, Gptq, Rtn, SmoothQuant
from tasks.compress.sparsegpt import SparseGpt
from tasks.compress.student import Student
from tasks.compress.wanda import Wanda
from tasks.compress.width import Width

AnyMethod = Annotated[
    Rtn
    | Gptq
    | Awq
    | SmoothQuant
    | Qat
    | Magnitude
    | Wanda
    | SparseGpt
    | Width
    | Depth
    | Svd
    | ActivationSvd
    | FineTune
    | Distill
    | Student
    | Gguf,
    Field(discriminator="kind"),
]
