"""`python -m app.import_child upload|chore ID`: one upload or one chore, in a process that may be killed at any moment and loses nothing by it."""

import gc
import signal
import sys
from typing import Any, NoReturn


def main() -> None:
    """The process door. Status 0 also when somebody else has it, or the file was refused: the row says so."""
    what, key = sys.argv[1], int(sys.argv[2])
    signal.signal(signal.SIGTERM, _end)
    gc.set_threshold(100_000)  # as in the reading child: rows are no cycles
    if what == "upload":
        from app.services import imports

        gc.freeze()  # what is imported stays: to look at it all takes longer than a write may hold the lock
        imports.run(key)
    else:
        from app.services import chores, examination

        gc.freeze()
        done = chores.run(key)
        if done is not None and done.kind == "lengths":
            examination.heed_lengths(done.version_id)


def _end(number: int, frame: Any) -> NoReturn:
    """End as the web process does: what was in hand is put away, and only the first word counts."""
    del frame
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
