"""An adapter version as OpenAI's fine-tuning job: what may be asked for, and how its row is read as job and events."""

import hashlib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy import Connection

from adapters.lifecycle import activation, versions
from adapters.lifecycle.versions import Version
from adapters.recipe import Recipe
from store import jobs
from store.errors import Invalid, NotFound
from store.owner import Owner
from store.users import User

EDITS = "attune://edits"
"""The one training file: the user's stored edits, as they are when the training begins."""
_ELSEWHERE = {
    "training_file": f"a job learns from the user's stored edits: {EDITS!r} is the only file here",
    "validation_file": "the user's newest edits are held out for the gate; leave it out",
    "suffix": "a user's adapters are numbered; leave it out",
    "method": "how adapters are trained is a setting of the server; leave it out",
    "seed": "the server's recipe has a seed; leave it out",
    "integrations": "nothing is reported elsewhere; leave it out",
    "metadata": "a job keeps nothing but whose it is: send user_id alone",
}
Status = Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]
OVER: tuple[Status, ...] = ("succeeded", "failed", "cancelled")
Level = Literal["info", "warn", "error"]
Auto = Literal["auto"]


class Hyperparameters(BaseModel):
    """The server's recipe decides, by what it found to be best for so many edits."""

    model_config = ConfigDict(extra="forbid")

    n_epochs: Auto = "auto"
    batch_size: Auto = "auto"
    learning_rate_multiplier: Auto = "auto"


class CreateJob(BaseModel):
    """Train the next adapter version of a user."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(description="The served model, as `GET /v1/models` names it.", examples=["attune-tiny"])
    training_file: Literal["attune://edits"] = Field(description="The user's stored edits.", examples=[EDITS])
    hyperparameters: Hyperparameters | None = None
    metadata: dict[Literal["user_id"], str] | None = Field(
        default=None, description="`user_id`: whose edits, unless the header `X-User-Id` says so."
    )
    user: str | None = None
    safety_identifier: str | None = None
    method: None = None
    validation_file: None = None
    suffix: None = None
    seed: None = None
    integrations: tuple[()] | None = None

    @field_validator(*_ELSEWHERE, mode="wrap")
    @classmethod
    def _told(cls, value: Any, check: Any, field: Any) -> Any:
        try:
            return check(value)
        except ValueError as error:
            raise ValueError(_ELSEWHERE[field.field_name]) from error


class JobError(BaseModel):
    """Why there is no new version."""

    code: str = Field(description="`refused` by the gate, or `training_failed`.", examples=["refused"])
    message: str = Field(examples=["refused: 3 edits are too few to learn from: at least 8 are needed."])
    param: str | None = None


class JobResponse(BaseModel):
    """A fine-tuning job as OpenAI describes one."""

    id: str = Field(examples=["ftjob-0f9a6c0d2b1e4f3a8c7d5e6b"])
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    model: str = Field(description="The base model.", examples=["attune-tiny"])
    status: Status = Field(
        description="`validating_files` while the gate compares the candidate with what serves now; `failed` also "
        "where it refused.",
        examples=["succeeded"],
    )
    fine_tuned_model: str | None = Field(
        description="The adapter version that came of it: a number, as in `/v1/users/{user}/adapters/{version}`.",
        examples=["3"],
    )
    error: JobError | None
    created_at: int = Field(description="Unix seconds.", examples=[1790000000])
    finished_at: int | None = Field(description="Unix seconds.", examples=[1790000060])
    estimated_finish: int | None = None
    trained_tokens: int | None = Field(description="Tokens that the training read.", examples=[51200])
    organization_id: str = Field(description="The tenant.", examples=["acme"])
    training_file: Literal["attune://edits"] = "attune://edits"
    validation_file: None = None
    result_files: list[str] = []
    seed: int = Field(description="The recipe's.", examples=[0])
    hyperparameters: Hyperparameters = Hyperparameters()
    metadata: dict[str, str] = Field(description="Whose edits.", examples=[{"user_id": "maria"}])
    integrations: list[Any] = []


class EventResponse(BaseModel):
    """Something that happened to a job."""

    id: str = Field(examples=["ftevent-0f9a6c0d2b1e4f3a8c7d5e6b-step-40"])
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int = Field(description="Unix seconds.", examples=[1790000010])
    level: Level = Field(examples=["info"])
    message: str = Field(examples=["Step 40/400: training loss=1.23"])
    type: Literal["message", "metrics"] = Field(examples=["metrics"])
    data: dict[str, float] = Field(description="The figures of a step.", examples=[{"step": 40, "train_loss": 1.23}])


def job_id(user: User, version: int) -> str:
    """The same for as long as the version exists; another user's version of that number has another."""
    return f"ftjob-{hashlib.sha256(f'{user.opaque_id}.{version}'.encode()).hexdigest()[:24]}"


def status_of(version: Version, pending: set[str]) -> Status:
    """Where it stands; ``pending`` has the numbers of the versions that are worked on, or will be again."""
    if version.report.get("verdict") == "cancelled":
        return "cancelled"
    if version.state == "training":
        return "validating_files" if "trained_at" in version.report.get("training", {}) else "running"
    if version.state == "queued" or (version.state == "failed" and str(version.version) in pending):
        return "queued"  # what failed is tried again
    return "failed" if version.state in ("refused", "failed") else "succeeded"


def job_of(user: User, version: Version, pending: set[str], model: str) -> JobResponse:
    """The version as a job; ``model`` is the served one."""
    status = status_of(version, pending)
    noted = version.report.get("training", {})
    ended = status in OVER
    error = None
    if status == "failed":
        code = "refused" if version.state == "refused" else "training_failed"
        error = JobError(code=code, message=version.report["sentence"])
    return JobResponse(
        id=job_id(user, version.version),
        model=model,
        status=status,
        fine_tuned_model=str(version.version) if status == "succeeded" else None,
        error=error,
        created_at=int(version.created_at),
        finished_at=int(noted.get("finished_at", version.updated_at)) if ended else None,
        trained_tokens=noted.get("tokens") if ended else None,
        organization_id=user.owner.tenant,
        seed=Recipe.seed,
        metadata={"user_id": user.owner.user},
    )


def events_of(id: str, version: Version) -> list[EventResponse]:
    """What the version's row says of its way, oldest first; ``id`` is the job's."""
    number, report = version.version, version.report
    noted = report.get("training", {})
    events: list[EventResponse] = []

    def tell(what: str, at: float, message: str, level: Level = "info", **figures: float) -> None:
        events.append(
            EventResponse(
                id=f"{id.replace('ftjob', 'ftevent')}-{what}",
                created_at=int(at),
                level=level,
                message=message,
                type="metrics" if figures else "message",
                data=figures,
            )
        )

    tell("queued", version.created_at, f"Version {number} is queued, to be learned from the user's edits.")
    if "notice" in report:
        tell("notice", version.created_at, report["notice"], "warn")
    if "started_at" in noted:
        tell("started", noted["started_at"], "Training has started.")
    for step in noted.get("progress", ()):
        said = f"Step {step['step']}/{step['steps']}: training loss={step['loss']:.2f}"
        figures = {"step": step["step"], "total_steps": step["steps"], "train_loss": step["loss"]}
        tell(f"step-{step['step']}", step["at"], said, **figures)
    if "trained_at" in noted:
        said = "Trained. The gate compares the candidate on held-out edits with what serves now."
        tell("trained", noted["trained_at"], said)
    if "sentence" in report:
        finished_at = noted.get("finished_at", version.updated_at)
        level: Level = "warn" if version.state == "refused" else "error" if version.state == "failed" else "info"
        tell("ended", finished_at, report["sentence"], level)
        if version.state == "ready":
            tell("published", finished_at, f"Version {number} is published{_begun(version)}.")
    return events


def _begun(version: Version) -> str:
    """How a published version began to serve."""
    if "canary" in version.report:
        return " and is tried on some conversations"
    return " and serves the user" if version.activated_at is not None else "; another one is pinned"


def cancel(c: Connection, user: User, id: str) -> tuple[bool, bool]:
    """Give a job up: whether somebody is at it, and whether another version serves since.

    Raises ``NotFound``, and ``Invalid`` where it is over.
    """
    version, pending = find(c, user, id)
    if (status := status_of(version, pending)) in OVER:
        raise Invalid(f"The job {id} has ended already: it is {status}.", param="id")
    return versions.cancel(c, user.owner, version.version), activation.settle(c, user.owner)


def trained(c: Connection, owner: Owner) -> tuple[list[Version], set[str]]:
    """The versions trained here, newest first, and the numbers of those that are still worked on, or will be again."""
    made = [
        v for v in versions.all_of(c, owner) if v.state != "deleted" and v.report.get("verdict") != versions.IMPORTED
    ]
    return made[::-1], jobs.under_way(c, owner, "train")


def find(c: Connection, user: User, id: str) -> tuple[Version, set[str]]:
    """A job's version, and what is still worked on. Raises ``NotFound``."""
    made, pending = trained(c, user.owner)
    version = next((version for version in made if job_id(user, version.version) == id), None)
    if version is None:
        raise NotFound(f"There is no fine-tuning job {id!r} of this user.", param="id")
    return version, pending
