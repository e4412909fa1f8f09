"""What an attempt waits for and never answers for: a database, a queue service or an object store that is away. Loads no torch.

What can be tried again is, for PATIENCE_SECONDS; then, or where nothing can, the process ends with the exit code AWAY and its parent puts the job
back into the queue. That is not held against it, and it goes on from what it has saved.
"""

from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection

from app.errors import Away

OUTAGES = (OperationalError, InterfaceError, InternalError, NoConnection, Away)
"""How a service that is away shows. PostgreSQL calls a server that may only be read, as while another takes over, an internal error."""

PAUSE_SECONDS = 1.0
PATIENCE_SECONDS = 900.0
"""How long to wait for a service: after that a worker elsewhere, which may reach it, gets its turn."""


def told(error: BaseException) -> str:
    """Which service is away, and that it is waited for."""
    reason = error.message if isinstance(error, Away) else f"The database does not answer: {getattr(error, 'orig', None) or error}"
    return f"{reason.strip().rstrip('.')}. The job waits for it."
