"""Every file that declares a table, imported. `app/db.py` imports this one, so that foreign keys find each other in every process."""

from app.domain import annotation, chore, dataset, evaluation, experiment, finding, job, metric, model, prompt, search, upload, user, worker
from app.domain.base import Base

__all__ = [
    "Base", "annotation", "chore", "dataset", "evaluation", "experiment", "finding", "job", "metric", "model", "prompt", "search", "upload", "user", "worker",
]  # fmt: skip
