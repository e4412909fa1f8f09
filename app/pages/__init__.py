"""HTML: URL -> service -> template, one file per family of pages."""

from fastapi import APIRouter

from app.pages import account, datasets, endpoints, experiments, home, jobs, lab, models

router = APIRouter(include_in_schema=False)
for _family in (account, home, lab, datasets, jobs, experiments, models, endpoints):
    router.include_router(_family.router)
