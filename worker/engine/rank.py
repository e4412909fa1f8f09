"""One of a run's processes besides the first: `python -m worker.engine.rank PARENT`, started by `launch`.

Two lines of JSON on stdin say where it stands and what the run is. It says on stdout, in JSON lines, when it is ready and which
error ended it. When stdin closes, rank 0 is gone and so is this process.
"""

import json
import os
import sys
import traceback
from types import TracebackType
from typing import Any

from app.errors import FettleError
from worker.engine.lifeline import die_with_parent, listen
from worker.engine.place import Place
from worker.engine.spec import from_json


def main(parent: int) -> int:
    """Take part in a run to its end. Returns the exit code."""
    die_with_parent(parent)
    place, spec = Place(**json.loads(sys.stdin.readline())), from_json(sys.stdin.readline())
    listen(sys.stdin)
    wire = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no word to rank 0

    def say(what: dict[str, Any]) -> None:
        wire.write(json.dumps(what) + "\n")
        wire.flush()

    from worker.engine.train import take_part

    say({"ready": True})
    try:
        take_part(spec, place)
    except FettleError as error:
        say({"error": error.as_dict()})
        return 1
    return 0


def _last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    traceback.print_exception(kind, error, trace)
    _leave(1)


def _leave(code: int) -> None:
    """End at once: the thread that listens holds stdin, for which an orderly end would wait."""
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.excepthook = _last_words
    _leave(main(int(sys.argv[1])))
