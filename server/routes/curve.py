"""GET /v1/curve: what edits cost over time, and when something was learned."""

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from adapters.lifecycle import versions
from preference import curve, preferences
from server.admission.identity import UserKey
from server.errors import Forbidden
from server.routes.requests import HeaderUser, ServicesOf, TenantOf, asking_owner
from store.owner import Owner

router = APIRouter(tags=["turns"])
_MARKS = 500


class CurvePoint(BaseModel):
    """Neighbouring edits together."""

    since: float = Field(description="When the first of them was made; Unix seconds.", examples=[1790000000.5])
    until: float = Field(description="When the last of them was made; Unix seconds.", examples=[1790000060.5])
    edits: int = Field(examples=[4])
    cost: float = Field(description="Mean edit cost: 0 is unchanged, 1 all new.", examples=[0.31])
    unchanged: float = Field(description="Share of answers that were used as they were.", examples=[0.25])
    prompt_tokens: float = Field(description="Mean.", examples=[120.0])
    completion_tokens: float = Field(description="Mean.", examples=[40.0])


class CurveMark(BaseModel):
    """Something that happened on the way."""

    at: float = Field(description="Unix seconds.", examples=[1790000030.0])
    kind: Literal["preference", "adapter"] = Field(examples=["preference"])
    id: str = Field(description="The preference's id, or the version.", examples=["pref-77a0"])
    text: str = Field(description="The preference; of a version empty.", examples=["Sign with 'Bo'"])


class CurveResponse(BaseModel):
    """Edit costs, oldest first."""

    object: Literal["curve"] = "curve"
    user: str | None = Field(description="None: the whole tenant.", examples=["maria"])
    edits: int = Field(description=f"How many there are, the newest {curve.MAX_EDITS} at most.", examples=[4])
    points: list[CurvePoint]
    marks: list[CurveMark] = Field(description="Of one user: preferences learned, adapters activated; oldest first.")


@router.get("/curve")
async def get_curve(
    request: Request,
    services: ServicesOf,
    tenant: TenantOf,
    header: HeaderUser,
    user: Annotated[str | None, Query(description="The end user, where no header says so.")] = None,
    of: Annotated[Literal["user", "tenant"], Query(description="Of one user, or of all of the tenant.")] = "user",
    points: Annotated[int, Query(ge=1, le=200, description="How many points at most.")] = 60,
) -> CurveResponse:
    """What edits cost over time."""
    if of == "tenant":
        if isinstance(request.state.caller, UserKey):
            raise Forbidden("This token is one user's.", param="of")
        rounds = await services.database.read(curve.of_tenant, tenant)
        return _told(None, rounds, [], points)
    owner = await asking_owner(tenant, header, user)
    rounds, marks = await services.database.read(_of_user, owner)
    return _told(owner.user, rounds, marks, points)


def _told(user: str | None, rounds: list[curve.Round], marks: list[CurveMark], most: int) -> CurveResponse:
    drawn = [CurvePoint(**asdict(point)) for point in curve.points(rounds, most)]
    return CurveResponse(user=user, edits=len(rounds), points=drawn, marks=marks)


def _of_user(c: Connection, owner: Owner) -> tuple[list[curve.Round], list[CurveMark]]:
    marks = [
        CurveMark(at=one.created_at, kind="preference", id=one.id, text=one.text)
        for one in preferences.all_of(c, owner)
        if one.source == "learned"
    ]
    marks += [
        CurveMark(at=one.activated_at, kind="adapter", id=str(one.version), text="")
        for one in versions.all_of(c, owner)
        if one.activated_at is not None and one.state != "deleted"
    ]
    return curve.of_user(c, owner), sorted(marks, key=lambda mark: mark.at)[-_MARKS:]
