"""A user's adapter versions: list, train, activate, pin, try as a canary, roll back, retire, delete."""

import asyncio
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection
from starlette.requests import ClientDisconnect

from adapters.lifecycle import activation, versions
from adapters.lifecycle.importing import Importer
from adapters.lifecycle.versions import Version
from server import rollout
from server.http.openapi import errors
from server.routes.requests import KeepsMore, PathOwner, ServicesOf, known
from server.services import Services
from store import jobs, users
from store.errors import Invalid, NotFound
from store.owner import Owner
from store.users import User

router = APIRouter(prefix="/users/{user}/adapters", tags=["adapters"], responses=errors(404))

_TAR = {
    "requestBody": {
        "required": True,
        "content": {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}},
        "description": "`adapter_config.json` and `adapter_model.safetensors`, and the `manifest.json` of an export if "
        "there is one; not compressed.",
    }
}
VersionNumber = Annotated[int, Path(ge=0, lt=2**31, description="A version; 0 is none.", examples=[3])]


class AdapterResponse(BaseModel):
    """One adapter version of a user."""

    object: Literal["adapter"] = "adapter"
    version: int = Field(examples=[3])
    active: bool = Field(description="Whether it is the one that the user is set to.")
    pinned: bool = Field(description="Whether it stays the active one until it is unpinned.")
    canary: bool = Field(description="Whether it is being tried on a share of the user's conversations.")
    state: versions.State = Field(
        description="`refused` by the gate, `ready` to serve, `retired` for good.", examples=["ready"]
    )
    mode: str = Field(description="How the gate found it best: `adapter` or `retrieval+adapter`.", examples=["adapter"])
    learned_through: float = Field(description="When the newest edit was made that it learned from; Unix seconds.")
    report: dict[str, Any] = Field(
        description="The gate's figures and its verdict, before it how many edits there are and are needed; in "
        "`canary` the figures of its trial.",
        examples=[{"verdict": "admitted", "sentence": "admitted: 0.31 instead of 0.44 on 12 held-out edits"}],
    )
    created_at: float = Field(description="Unix seconds.", examples=[1790000000.5])
    updated_at: float = Field(description="Unix seconds.", examples=[1790000060.25])
    activated_at: float | None = Field(
        description="When it last became the active one; Unix seconds.", examples=[1790000060.25]
    )


class AdapterWithManifest(AdapterResponse):
    """One adapter version, and where its weights come from."""

    manifest: dict[str, Any] | None = Field(
        description="The ids of the edits it learned from, the base model's hash, recipe, figures, the code's version "
        "and commit, and the files' hashes; none where it has no files.",
        examples=[{"version": 3, "learned_from": ["fb-4c1d"], "base_sha256": "9f2c", "commit": "b320bfd"}],
    )


class AdapterList(BaseModel):
    """A user's versions, oldest first."""

    object: Literal["list"] = "list"
    active: int = Field(description="The version that the user is set to; 0 is none.", examples=[3])
    pinned: bool = Field(description="Whether it stays so until it is unpinned.", examples=[False])
    canary: int = Field(description="The version that is tried beside it; 0 is none.", examples=[0])
    data: list[AdapterResponse]


class ActiveAdapter(BaseModel):
    """What serves the user from now on."""

    object: Literal["adapter.active"] = "adapter.active"
    active: int = Field(examples=[3])
    pinned: bool = Field(examples=[False])
    canary: int = Field(description="The version that is tried beside it; 0 is none.", examples=[0])


class TryAdapter(BaseModel):
    """On how much a version is tried."""

    model_config = ConfigDict(extra="forbid", strict=True)

    share: float = Field(default=0.2, gt=0, le=1, description="Of the user's conversations.", examples=[0.2])


class DeletedAdapter(BaseModel):
    """The version is gone."""

    version: int = Field(examples=[3])
    object: Literal["adapter.deleted"] = "adapter.deleted"
    deleted: Literal[True] = True


@router.get("")
async def list_adapters(services: ServicesOf, owner: PathOwner) -> AdapterList:
    """The user's versions with their gate report, oldest first."""
    user = await known(services, owner)
    held = [v for v in await services.database.read(versions.all_of, owner) if v.state != "deleted"]
    data = [AdapterResponse(**_shown(version, user)) for version in held]
    return AdapterList(active=user.active_adapter, pinned=user.pinned, canary=user.canary_adapter, data=data)


@router.post("", status_code=202, dependencies=[KeepsMore], responses=errors(409))
async def train_adapter(services: ServicesOf, owner: PathOwner) -> AdapterResponse:
    """Queue the training of a new version from the user's edits."""
    user = await known(services, owner)
    version = await services.database.write(_queue, owner)
    services.wake_worker()
    return AdapterResponse(**_shown(version, user))


@router.post("/rollback", responses=errors(409))
async def roll_back_adapter(services: ServicesOf, owner: PathOwner) -> ActiveAdapter:
    """End the trial of a canary; without one, serve what was active before, or the base model.

    Returns once that really serves.
    """
    return await _switch(services, owner, activation.roll_back)


@router.post("/import", status_code=201, dependencies=[KeepsMore], openapi_extra=_TAR)
async def import_adapter(
    request: Request,
    services: ServicesOf,
    owner: PathOwner,
    base_sha256: Annotated[
        str | None,
        Query(pattern="^[0-9a-f]{64}$", description="The base model's hash, as a manifest has it; else not known."),
    ] = None,
) -> AdapterResponse:
    """Take an adapter in that was made elsewhere, by `peft` or by another Attune: its tar file is the body.

    It has to fit the served model and is `ready` then, not active: no gate has measured it. Activate it, or try it as a
    canary. A user not seen before is made.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in ("application/x-tar", "application/octet-stream"):  # what a page of another site may not send
        raise Invalid("Send the tar file with the header Content-Type: application/x-tar.", param="Content-Type")
    user = await services.database.write(users.ensure, owner)
    settings, left = services.settings, await services.quota.left(owner.tenant)
    limit = settings.import_limit if left is None else min(settings.import_limit, left)
    take_in = Importer(
        services.database, services.directories, settings.training_base, settings.recipe, settings.policy,
        limit, settings.commit,
    )  # fmt: skip
    try:
        number = await take_in(user, request.stream(), base_sha256)
    except ClientDisconnect as error:
        raise Invalid("The adapter's tar file is cut short.") from error
    await services.follow(user)
    return AdapterResponse(**_shown(await services.database.read(versions.get, owner, number), user))


@router.get("/{version:int}")
async def get_adapter(version: VersionNumber, services: ServicesOf, owner: PathOwner) -> AdapterWithManifest:
    """One version, with its manifest."""
    user = await known(services, owner)
    held = await services.database.read(versions.get, owner, version)
    if held.state == "deleted":
        raise NotFound(f"Adapter version {version} does not exist.", param="version")
    try:
        manifest = asdict(await asyncio.to_thread(services.directories.manifest, user.opaque_id, version))
    except NotFound:
        manifest = None
    return AdapterWithManifest(manifest=manifest, **_shown(held, user))


@router.post("/{version}/activate", responses=errors(409))
async def activate_adapter(version: VersionNumber, services: ServicesOf, owner: PathOwner) -> ActiveAdapter:
    """Serve the user with a version, and return once it really serves; 0 goes back to the base model."""
    if version:
        return await _switch(services, owner, partial(activation.choose, version=version))
    await rollout.serve_base(services.database, services.registry, owner)
    return await _active(services, owner)


@router.post("/{version}/pin", responses=errors(409))
async def pin_adapter(version: VersionNumber, services: ServicesOf, owner: PathOwner) -> ActiveAdapter:
    """Activate a version that nothing replaces or retires by itself until it is unpinned; 0 pins the base model."""
    return await _switch(services, owner, partial(activation.choose, version=version, pinned=True))


@router.post("/{version}/unpin", responses=errors(409))
async def unpin_adapter(version: VersionNumber, services: ServicesOf, owner: PathOwner) -> ActiveAdapter:
    """Let new versions replace the active one again, which goes on serving."""
    await known(services, owner)
    await services.database.write(activation.unpin, owner, version)
    return await _active(services, owner)


@router.post("/{version}/canary", responses=errors(409))
async def try_adapter(
    version: VersionNumber, body: TryAdapter, services: ServicesOf, owner: PathOwner
) -> ActiveAdapter:
    """Try a version on a share of the user's conversations; what their edits cost decides whether it stays."""
    tried = partial(activation.try_out, version=version, share=body.share, policy=services.settings.policy)
    return await _switch(services, owner, tried)


@router.post("/{version}/retire", responses=errors(409))
async def retire_adapter(version: VersionNumber, services: ServicesOf, owner: PathOwner) -> AdapterResponse:
    """Remove a version's files, for good; what is known about it stays. Not while it serves the user."""
    user = await services.database.write(activation.retire, owner, version)
    await rollout.remove(services.registry, services.directories, user, version)
    return AdapterResponse(**_shown(await services.database.read(versions.get, owner, version), user))


@router.delete("/{version:int}")
async def delete_adapter(version: VersionNumber, services: ServicesOf, owner: PathOwner) -> DeletedAdapter:
    """Delete a version: its weights, and its place in the engine. The base model serves if it was the active one.

    Requests that it answers are waited for. Should one take too long, the files go later. One that is being made is
    given up.
    """
    user, under_way, settled = await services.database.write(_delete, owner, version)
    if under_way:
        await services.training.stop(user.opaque_id)
    if settled:
        await services.follow(user)
    await rollout.remove(services.registry, services.directories, user, version)
    return DeletedAdapter(version=version)


async def _active(services: Services, owner: Owner) -> ActiveAdapter:
    user = await known(services, owner)
    return ActiveAdapter(active=user.active_adapter, pinned=user.pinned, canary=user.canary_adapter)


def _delete(c: Connection, owner: Owner, version: int) -> tuple[User, bool, bool]:
    """Its user, whether somebody is making it, and whether another version serves since."""
    under_way = jobs.cancel(c, owner, "train", str(version)) == "running"  # first: who publishes holds the job
    return versions.delete(c, owner, version), under_way, activation.settle(c, owner)


def _queue(c: Connection, owner: Owner) -> Version:
    return versions.get(c, owner, versions.queue(c, owner))


async def _switch(services: Services, owner: Owner, choose: rollout.Choose) -> ActiveAdapter:
    await rollout.switch(services.database, services.registry, owner, choose)
    return await _active(services, owner)


def _shown(version: Version, user: User) -> dict[str, Any]:
    active = version.version == user.active_adapter
    canary = version.version == user.canary_adapter
    return {**vars(version), "active": active, "pinned": active and user.pinned, "canary": canary}
