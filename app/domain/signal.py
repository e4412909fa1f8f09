"""The signal: what prompting alone says of whether a task can be learnt, before anybody tunes or labels. Pure.

A large model with a good prompt knows most tasks that make sense. Where it beats neither the most frequent label nor the linear baseline, and nothing that
was tuned does, the labels are the first suspect. A small local model that fails says nothing of the labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.ladder import Step, paired
from app.domain.stats import holds


@dataclass(frozen=True)
class Signal:
    """What is said: `missing` where no large endpoint took part, `warns` where neither prompting nor tuning gives a sign."""

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
    rivals = [one for one in (floor, linear) if one is not None]
    best, beaten = _best(asked, rivals)
    named = f"{best.title}, prompt {best.prompt}," if best.prompt else best.title
    who = named if large else f"The best local prompt, {named.removesuffix(',')},"
    if not rivals:
        return Signal(lead.strip(), True, False) if not large else None
    if beaten:
        return Signal(f"{lead}{who} is shown to beat {' and '.join(beaten)}.", not large, False)
    words = f"{who} is not shown to beat {' or '.join(one.title for one in rivals)}"
    if not large:
        return Signal(f"{lead}{words}.", True, False)
    if tuned := [step for step in steps if step.tunes]:
        learnt, overcome = _best(tuned, rivals)
        if overcome:
            words = f"{words}, but {learnt.title} is shown to beat {' and '.join(overcome)}: tuning learns what prompting gives no sign of."
            return Signal(words, False, False)
    return Signal(f"{words}: prompting gives no sign that this is learnable: check the labels first.", False, True)


def _best(steps: Sequence[Step], rivals: Sequence[Step]) -> tuple[Step, list[str]]:
    """The highest of those that are shown to beat most rivals, with those rivals' titles: a higher score alone shows nothing."""
    beats = {step.position: list[str]() for step in steps}
    for rival in rivals:
        for step, shown in zip(steps, holds([paired(step, rival) for step in steps], 0.0), strict=True):
            beats[step.position] += [rival.title] if shown else []
    best = max(steps, key=lambda step: (len(beats[step.position]), step.value, -step.position))
    return best, beats[best.position]
