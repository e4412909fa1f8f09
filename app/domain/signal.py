"""The signal: what prompting alone says of whether a task can be learnt, before anybody tunes or labels. Pure.

A large model with a good prompt knows most tasks that make sense. Where it beats neither the most frequent label nor the linear baseline, the
labels are the first suspect.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.ladder import Step, paired
from app.domain.stats import holds


@dataclass(frozen=True)
class Signal:
    """What is said: `missing` where no large endpoint took part, `warns` where prompting gives no sign."""

    sentence: str
    missing: bool
    warns: bool


def signal(steps: Sequence[Step], floor: Step | None, linear: Step | None) -> Signal | None:
    """From the large model, or where there is none from the local prompts; None before any prompt is scored."""
    large = [step for step in steps if step.signal]
    asked = large or [step for step in steps if not step.tunes and step.position >= 0]
    if not asked:
        return None
    lead = "" if large else "Without a large endpoint this signal is missing. "
    rivals = [one.title for one in (floor, linear) if one is not None]
    beats = {step.position: list[str]() for step in asked}
    for rival in (one for one in (floor, linear) if one is not None):
        for step, shown in zip(asked, holds([paired(step, rival) for step in asked], 0.0), strict=True):
            beats[step.position] += [rival.title] if shown else []
    # The highest of those that are shown to beat most: a higher score alone shows nothing.
    best = max(asked, key=lambda step: (len(beats[step.position]), step.value, -step.position))
    beaten = beats[best.position]
    named = f"{best.title}, prompt {best.prompt}," if best.prompt else best.title
    who = named if large else f"The best local prompt, {named.removesuffix(',')},"
    if not rivals:
        return Signal(lead.strip(), True, False) if not large else None
    if not beaten:
        against = " or ".join(rivals)
        words = f"{who} is not shown to beat {against}: prompting gives no sign that this is learnable: check the labels first."
        return Signal(lead + words, not large, True)
    return Signal(f"{lead}{who} is shown to beat {' and '.join(beaten)}.", not large, False)
