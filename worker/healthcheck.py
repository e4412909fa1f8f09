"""Is a worker of this machine alive? `python -m worker.healthcheck QUEUE` reads its presence row; exit code 0 or 1. Loads no torch."""

import sys

from sqlalchemy.exc import SQLAlchemyError

from app.db import reading
from app.domain.worker import alive
from worker.identity import this_host


def healthy(queue: str) -> bool:
    """Has a process of this machine that serves the queue beaten within the last 20 seconds?"""
    with reading() as session:
        return any(row.name.startswith(this_host()) for row in alive(session, queue))


if __name__ == "__main__":
    try:
        sys.exit(0 if healthy(sys.argv[1] if len(sys.argv) > 1 else "gpu") else 1)
    except SQLAlchemyError as error:
        sys.exit(f"The database does not answer: {error}")
