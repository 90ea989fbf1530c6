"""GET /v1/status: the whole server as its operator sees it: engines, queue, places, the last hour, the last errors."""

from dataclasses import asdict
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from server.routes.caller import Operator
from server.routes.requests import ServicesOf
from server.services import engine_state
from store import job_list

router = APIRouter(tags=["health"], dependencies=[Operator])
_FAILURES = 20


class SampleResponse(BaseModel):
    """Figures of one moment: jobs of all servers, all else this server's own."""

    at: float = Field(description="Unix seconds.", examples=[1790000000.5])
    queued: int = Field(description="Jobs that wait.", examples=[2])
    running: int = Field(description="Jobs that run.", examples=[1])
    failed: int = Field(description="Jobs that failed for good.", examples=[0])
    loaded: int = Field(description="Adapters in the engine.", examples=[3])
    serving: int = Field(description="Users whom an adapter serves now.", examples=[3])
    in_flight: int = Field(description="Requests under way.", examples=[1])


class FailureResponse(BaseModel):
    """A job that failed for good."""

    id: str = Field(examples=["job-2f7a"])
    kind: str = Field(examples=["train"])
    tenant: str = Field(examples=["acme"])
    user: str = Field(examples=["maria"])
    subject: str = Field(examples=["3"])
    error: str = Field(examples=["the trainer ended with status 1"])
    created_at: float = Field(description="Unix seconds.", examples=[1790000000.5])


class EngineResponse(BaseModel):
    """One engine."""

    name: str = Field(description="`own`, or its URL.", examples=["own"])
    ready: bool


class StatusResponse(BaseModel):
    """The server now, and over the last hour."""

    object: Literal["status"] = "status"
    engine: str = Field(description="As in `/ready`.", examples=["ready"])
    engines: list[EngineResponse]
    capacity: int = Field(description="Places for adapters in each engine.", examples=[16])
    now: SampleResponse
    hour: list[SampleResponse] = Field(description="A sample a minute of this server, oldest first.")
    failures: list[FailureResponse] = Field(description=f"The newest {_FAILURES} at most, of all tenants.")


@router.get("/status")
async def get_status(services: ServicesOf) -> StatusResponse:
    """What an operator looks at first."""
    failed = await services.database.read(job_list.failures, _FAILURES)
    told = [{**vars(job), "tenant": owner.tenant, "user": owner.user, "error": error} for owner, job, error in failed]
    return StatusResponse(
        engine=await engine_state(services.engine, services.engine_process),
        engines=[
            EngineResponse(name=replica.name, ready=await replica.engine.ready())
            for replica in services.engine.replicas
        ],
        capacity=services.settings.adapter_slots,
        now=SampleResponse(**asdict(await services.last_hour.now())),
        hour=[SampleResponse(**asdict(one)) for one in services.last_hour.samples],
        failures=[FailureResponse(**one) for one in told],
    )
