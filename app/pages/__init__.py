"""HTML: URL -> service -> template, one file per family of pages."""

from fastapi import APIRouter

from app.pages import account, datasets, endpoints, experiments, health, home, jobs, lab, labels, models, uploads, versions

router = APIRouter(include_in_schema=False)
for _family in (account, home, lab, uploads, datasets, health, versions, labels, jobs, experiments, models, endpoints):
    router.include_router(_family.router)
