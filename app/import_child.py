"""`python -m app.import_child upload|chore ID`: one upload or one chore, in a process that may be killed at any moment and loses nothing by it."""

import gc
import sys


def main() -> None:
    """The process door. Status 0 also when somebody else has it, or the file was refused: the row says so."""
    what, key = sys.argv[1], int(sys.argv[2])
    gc.set_threshold(100_000)  # as in the reading child: rows are no cycles
    if what == "upload":
        from app.services import imports

        imports.run(key)
    else:
        from app.services import chores, health

        done = chores.run(key)
        if done is not None and done.kind == "lengths":
            health.heed_lengths(done.version_id)


if __name__ == "__main__":
    main()
