"""GET /v1/jobs: what waits, runs or has failed for a tenant's users."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from server.http import paging
from server.routes.requests import ServicesOf, TenantOf
from store import job_list

router = APIRouter(tags=["users"])

State = Literal["queued", "running", "done", "failed"]


class JobRow(BaseModel):
    """Work that is done apart from requests. What came of it stands where it belongs: feedback, adapter versions."""

    id: str = Field(examples=["job-2f7a"])
    object: Literal["job"] = "job"
    kind: str = Field(description="`learn`, `train`, `canary` or `weigh`.", examples=["learn"])
    user: str = Field(examples=["maria"])
    subject: str = Field(description="The feedback's id, or the adapter version.", examples=["fb-4c1d"])
    state: State = Field(examples=["done"])
    attempt: int = Field(examples=[1])
    created_at: float = Field(description="Unix seconds.", examples=[1790000000.5])


@router.get("/jobs")
async def list_jobs(
    services: ServicesOf,
    tenant: TenantOf,
    limit: paging.Limit = 20,
    cursor: paging.After = None,
    state: Annotated[State | None, Query(description="Only those that stand so.")] = None,
) -> paging.Page[JobRow]:
    """The jobs of the API key's tenant, newest first; those that ended are kept for a while."""
    found = await services.database.read(
        job_list.of_tenant, tenant, after=paging.place_of(cursor), limit=limit + 1, state=state
    )
    return paging.page_of(
        found, limit, lambda one: (one[1].created_at, one[1].id), lambda one: JobRow(user=one[0], **vars(one[1]))
    )
