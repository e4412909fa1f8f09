"""Every file that declares a table, imported. `app/db.py` imports this one, so that foreign keys find each other in every process."""

from app.domain import (
    alias,
    annotation,
    chore,
    dataset,
    device,
    draft,
    endpoint,
    evaluation,
    experiment,
    finding,
    installation,
    job,
    judgement,
    machine,
    mark,
    metric,
    model,
    notebook,
    prompt,
    queue,
    reliability,
    text_search,
    trial,
    upload,
    user,
    webhook,
    worker,
)  # fmt: skip
from app.domain.base import Base

__all__ = [
    "Base", "alias", "annotation", "chore", "dataset", "device", "draft", "endpoint", "evaluation", "experiment", "finding", "installation", "job", "judgement", "machine", "mark", "metric",
    "model", "notebook", "prompt", "queue", "reliability", "text_search", "trial", "upload", "user", "webhook", "worker",
]  # fmt: skip
