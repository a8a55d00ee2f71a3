"""All methods a run file can name. To add one: a file, an import and a member here."""

from typing import Annotated

from pydantic import Field

from tasks.compress.magnitude import Magnitude
from tasks.compress.quantize import Gptq, Rtn

AnyMethod = Annotated[Gptq | Rtn | Magnitude, Field(discriminator="kind")]
