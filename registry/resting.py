"""Does what a judgement rests on besides its evidence still hold?"""

from datetime import date

from registry import layout
from registry.documents import validate
from registry.policy import Policy
from registry.store import Judgement


def lapsed(by: Judgement, where: str, today: date) -> list[str]:
    """The waivers of a judgement that do not hold any more: one sentence each."""
    policy = validate(Policy, dict(by.policy), f"{where} {layout.POLICY}")
    rests = [w for f in by.decision.waived if (w := policy.waiver(f.rule))]
    return [
        f"{where}: the waiver of {w.owner} for {w.rule}, on which it rests, lapsed on "
        f"{w.expires}; meet the rule, or renew the waiver and judge again"
        for w in rests
        if not w.holds(today)
    ]
