"""Where an attempt of a run starts, as its log says it: the engine writes the lines, and pages read them again. Pure."""

MEASURED = "Longest step: "
"""Every attempt that comes to its training says so."""

WENT_ON = "Went on from the checkpoint at step "
"""And this after it, where there is a checkpoint to go on from."""


def went_on(step: int) -> str:
    return f"{WENT_ON}{step}."


def step_of(line: str) -> int | None:
    """The step that an attempt goes on from by one of these lines, 0 for the first one; None of any other line."""
    step = line.removeprefix(WENT_ON).rstrip(".")
    return 0 if line.startswith(MEASURED) else int(step) if line.startswith(WENT_ON) and step.isdecimal() else None
