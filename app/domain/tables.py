"""Every file that declares a table, imported. `app/db.py` imports this one, so that foreign keys find each other in every process."""

from app.domain import (
    annotation,
    chore,
    dataset,
    endpoint,
    evaluation,
    experiment,
    finding,
    job,
    metric,
    model,
    prompt,
    text_search,
    trial,
    upload,
    user,
    worker,
)  # fmt: skip
from app.domain.base import Base

__all__ = [
    "Base", "annotation", "chore", "dataset", "endpoint", "evaluation", "experiment", "finding", "job", "metric", "model", "prompt", "text_search", "trial",
    "upload", "user", "worker",
]  # fmt: skip
