"""Stage: make a model smaller. Importing this loads no torch."""

from tasks.compress.calibration import Calibrated
from tasks.compress.catalog import AnyMethod
from tasks.compress.depth import Depth
from tasks.compress.distill import Distill
from tasks.compress.finetune import FineTune
from tasks.compress.gguf_export import Gguf
from tasks.compress.low_rank import ActivationSvd, Svd
from tasks.compress.magnitude import Magnitude
from tasks.compress.method import LayerMethod, Method
from tasks.compress.qat import Qat
from tasks.compress.quantize import Awq, Gptq, Rtn, SmoothQuant
from tasks.compress.sparsegpt import SparseGpt
from tasks.compress.stage import compress
from tasks.compress.student import Student
from tasks.compress.wanda import Wanda
from tasks.compress.width import Width

__all__ = [
    "ActivationSvd",
    "AnyMethod",
    "Awq",
    "Calibrated",
    "Depth",
    "Distill",
    "FineTune",
    "Gguf",
    "Gptq",
    "LayerMethod",
    "Magnitude",
    "Method",
    "Qat",
    "Rtn",
    "SmoothQuant",
    "SparseGpt",
    "Student",
    "Svd",
    "Wanda",
    "Width",
    "compress",
]
