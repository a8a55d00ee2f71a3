"""Every audit a run file can name. Adding one is an import and a member here."""

from typing import Annotated

from pydantic import Field

from audits.association import Association
from audits.bbq import Bbq
from audits.calibration import Calibration
from audits.closed_world import ClosedWorld
from audits.counterfactual import Counterfactual
from audits.crows_pairs import CrowsPairs
from audits.exposure import CanaryExposure
from audits.faithfulness import Faithfulness
from audits.free_text import FreeText
from audits.halueval import HaluEval
from audits.open_answers import OpenAnswers
from audits.plugin import Plugin
from audits.stereoset import StereoSet
from audits.swaps import Swaps
from audits.toxicity import Toxicity
from audits.uncertainty import Uncertainty
from audits.winobias import WinoBias
from audits.winogender import Winogender

AnyAudit = Annotated[
    Association
    | Bbq
    | Calibration
    | CanaryExposure
    | ClosedWorld
    | Counterfactual
    | CrowsPairs
    | Faithfulness
    | FreeText
    | HaluEval
    | OpenAnswers
    | Plugin
    | StereoSet
    | Swaps
    | Toxicity
    | Uncertainty
    | WinoBias
    | Winogender,
    Field(discriminator="kind"),
]
