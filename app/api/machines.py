"""Another machine joins: the one call that a token of the page "Add a machine" opens."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.services import machines

router = APIRouter(prefix="/machines")


class MachineDevice(BaseModel):
    """A device as its machine names it; memory in bytes."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=40)
    title: str = Field(max_length=200)
    memory: int = Field(ge=0)


class Libraries(BaseModel):
    """Versions of what computes, where it is installed."""

    model_config = ConfigDict(extra="forbid")

    torch: str | None = Field(None, max_length=40)
    transformers: str | None = Field(None, max_length=40)
    peft: str | None = Field(None, max_length=40)


class Report(BaseModel):
    """What a machine says of itself; `driver` is its GPUs', `cuda` the newest version that this can run, `clock_ms` is its clock in milliseconds since 1970."""

    model_config = ConfigDict(extra="forbid")

    machine: str = Field(min_length=1, max_length=100)
    version: str = Field(max_length=40)
    schema_: str | None = Field(None, max_length=40, alias="schema")
    python: str = Field("", max_length=40)
    libraries: Libraries = Libraries()
    driver: str | None = Field(None, max_length=40)
    cuda: str | None = Field(None, max_length=40)
    devices: list[MachineDevice] = Field(max_length=64)
    clock_ms: int


class Joining(BaseModel):
    """The token, and the report."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(max_length=200)
    report: Report


@router.post("/join")
def join(body: Joining) -> dict[str, Any]:
    """{ahead_ms, warnings}: how far the machine's clock is ahead, and sentences about what is not as on the server. 403 for a token that is not good, 409 with the reason why it may not work here."""
    ahead, warnings = machines.join(body.token, body.report.model_dump(by_alias=True, exclude_none=True))
    return {"ahead_ms": ahead, "warnings": warnings}
