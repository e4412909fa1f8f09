"""What the tests of single formats ask of a file: its examples, its problems, its notes."""

from pathlib import Path

from app.readers import Detected, Example, Problem
from app.readers.frames import Broken, Chunk, End, Found, Frame
from app.readers.options import Options
from app.readers.pipeline import frames


class Read:
    """Everything the pipeline says about a file."""

    def __init__(self, path: Path, options: Options = Options()) -> None:
        self.frames: list[Frame] = list(frames(path, options))

    @property
    def detected(self) -> Detected:
        return next(frame.detected for frame in self.frames if isinstance(frame, Found))

    @property
    def examples(self) -> list[Example]:
        return [example for frame in self.frames if isinstance(frame, Chunk) for example in frame.examples]

    @property
    def pairs(self) -> list[tuple[str, str | None]]:
        return [(example.input, example.output) for example in self.examples]

    @property
    def problems(self) -> list[Problem]:
        return [frame.problem for frame in self.frames if isinstance(frame, Broken)]

    @property
    def codes(self) -> list[str]:
        return [problem.code for problem in self.problems]

    @property
    def notes(self) -> dict[str, str]:
        end = self.frames[-1]
        assert isinstance(end, End)
        return {note.code: note.sentence for note in end.notes}
