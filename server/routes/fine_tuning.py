"""OpenAI's fine-tuning jobs: each is the making of one adapter version from a user's stored edits.

Nothing is kept for them beside the version: a job's id, status and events are read from its row.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from adapters.lifecycle import versions
from server.admission.identity import user_of
from server.errors import ModelNotFound
from server.fine_tuning import CreateJob, EventResponse, JobResponse, cancel, events_of, find, job_id, job_of, trained
from server.http.openapi import errors
from server.routes.requests import AskingOwner, HeaderUser, KeepsMore, ServicesOf, TenantOf, known
from server.services import Services
from store.errors import Invalid, NotFound
from store.owner import Owner
from store.users import User

router = APIRouter(prefix="/fine_tuning/jobs", tags=["fine-tuning"], responses=errors(404))
T = TypeVar("T", JobResponse, EventResponse)


class JobList(BaseModel):
    """A user's jobs, newest first."""

    object: Literal["list"] = "list"
    data: list[JobResponse]
    has_more: bool = Field(description="Whether there are older ones.", examples=[False])


class EventList(BaseModel):
    """A job's events, newest first."""

    object: Literal["list"] = "list"
    data: list[EventResponse]
    has_more: bool = Field(description="Whether there are older ones.", examples=[False])


JobId = Annotated[str, Path(description="The `id` of the job.", examples=["ftjob-0f9a6c0d2b1e4f3a8c7d5e6b"])]
After = Annotated[str | None, Query(description="The last `id` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=100, description="How many at most.")]


@router.post("", dependencies=[KeepsMore], responses=errors(409))
async def create_job(body: CreateJob, services: ServicesOf, tenant: TenantOf, header: HeaderUser) -> JobResponse:
    """Queue the training of the user's next adapter version, as `POST /v1/users/{user}/adapters` does."""
    served = await services.engine.model()
    if body.model != served:
        raise ModelNotFound(body.model, served)
    name = user_of(header, body.model_dump(include={"safety_identifier", "user", "metadata"}))
    if name is None:
        raise Invalid("Say whose edits, in the header X-User-Id or as metadata.user_id.", param="metadata.user_id")
    owner = Owner(tenant, name)
    user = await known(services, owner)
    number = await services.database.write(versions.queue, owner)
    services.wake_worker()
    return await _shown(services, user, job_id(user, number))


@router.get("")
async def list_jobs(
    request: Request, services: ServicesOf, owner: AskingOwner, after: After = None, limit: Limit = 20
) -> JobList:
    """The user's jobs, newest first; without those whose version was deleted."""
    if any(name.partition("[")[0] == "metadata" for name in request.query_params):
        raise Invalid("Jobs cannot be filtered by metadata; name the user in the header X-User-Id.", param="metadata")
    user = await known(services, owner)
    made, pending = await services.database.read(trained, owner)
    model = await services.engine.model()
    data, has_more = _page([job_of(user, version, pending, model) for version in made], after, limit)
    return JobList(data=data, has_more=has_more)


@router.get("/{id}")
async def get_job(id: JobId, services: ServicesOf, owner: AskingOwner) -> JobResponse:
    """Where a job stands, and what came of it."""
    return await _shown(services, await known(services, owner), id)


@router.get("/{id}/events")
async def list_events(
    id: JobId, services: ServicesOf, owner: AskingOwner, after: After = None, limit: Limit = 20
) -> EventList:
    """What happened to a job, newest first: its steps, and what the gate said."""
    version, _ = await services.database.read(find, await known(services, owner), id)
    data, has_more = _page(events_of(id, version)[::-1], after, limit)
    return EventList(data=data, has_more=has_more)


@router.post("/{id}/cancel")
async def cancel_job(id: JobId, services: ServicesOf, owner: AskingOwner) -> JobResponse:
    """Give a job up. It learns nothing more, and what serves the user stays."""
    user = await known(services, owner)
    under_way, settled = await services.database.write(cancel, user, id)
    if under_way:
        # Here at once; another process has lost the job's lease, and stops when it next renews it.
        await services.training.stop(user.opaque_id)
    if settled:
        await services.follow(user)
    return await _shown(services, user, id)


async def _shown(services: Services, user: User, id: str) -> JobResponse:
    version, pending = await services.database.read(find, user, id)
    return job_of(user, version, pending, await services.engine.model())


def _page(newest_first: Sequence[T], after: str | None, limit: int) -> tuple[list[T], bool]:
    """The ``limit`` after the one with the id ``after``, and whether there are more. Raises ``NotFound``."""
    ids = [one.id for one in newest_first]
    if after is not None and after not in ids:
        raise NotFound(f"There is no {after!r} to go on after.", param="after")
    start = 0 if after is None else ids.index(after) + 1
    return list(newest_first[start : start + limit]), start + limit < len(ids)
