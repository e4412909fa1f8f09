"""JSON: /api/v1, one file per noun, and the OpenAI-compatible /v1. Health is open; everything else needs a token or a session."""

from fastapi import APIRouter

from app.api import (
    datasets,
    endpoints,
    evaluations,
    experiments,
    fits,
    generate,
    health,
    jobs,
    judgements,
    labels,
    likelihoods,
    machines,
    marks,
    models,
    notebook,
    openai,
    prompts,
    queues,
    reliability,
    table,
    uploads,
    versions,
)  # fmt: skip

_NOUNS = (
    datasets, versions, labels, uploads, prompts, table, generate, likelihoods, marks, jobs, evaluations, experiments, models, endpoints, fits,
    notebook, queues, machines, judgements, reliability,
)  # fmt: skip

_v1 = APIRouter(prefix="/api/v1")
for _noun in _NOUNS:
    _v1.include_router(_noun.router)

router = APIRouter()
router.include_router(_v1)
router.include_router(openai.router)
router.include_router(health.router)
