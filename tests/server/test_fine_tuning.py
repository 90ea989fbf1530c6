"""OpenAI's fine-tuning jobs with its own client: against the real server, its workers and the scripted engine."""

import asyncio
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.fine_tuning import FineTuningJob
from openai.types.fine_tuning.job_create_params import Hyperparameters

from adapters.errors import TrainingFailed
from adapters.lifecycle import activation as serving_rows
from adapters.lifecycle import versions
from adapters.recipe import LINEAR_LAYERS
from adapters.training import progress
from adapters.training.process import run_command
from bench.crash import trainer as small_trainer
from server.fine_tuning import EDITS, OVER
from server.settings import Settings
from store import jobs, users
from store.owner import Owner
from tests.server.conftest import Running, Start, ask, serving, until
from tests.server.dialects.test_chat import publish
from tests.server.fake_engine import MODEL, FakeEngine, Script

ANN = Owner("local", "ann")
ASKED: dict[str, Any] = {"model": MODEL, "training_file": EDITS}
EDITED = ["Dear", " world,", " hello!"]


@dataclass
class Trainer:
    """Prints its steps, then writes an adapter that is valid and does nothing; or hangs, or fails so many times."""

    hangs: bool = False
    failures: int = 0
    printed: list[dict[str, Any]] = field(default_factory=list)
    under_way: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)

    async def __call__(self, directory: Path, seconds: float) -> None:
        program = [sys.executable, "-I", "-S", str(Path(small_trainer.__file__)), str(directory)]
        if not self.hangs:
            await run_command(program, directory, seconds)
        (directory / "figures.json").write_text('{"tokens": 1234, "rows": 4, "recipe": "sft"}')
        (directory / progress.FILE).write_text("".join(json.dumps(line) + "\n" for line in self.printed))
        self.under_way.set()
        if self.failures:
            self.failures -= 1
            raise TrainingFailed("the trainer failed with status 1; the server's log says why")
        try:
            await asyncio.sleep(3600 if self.hangs else 0)
        except asyncio.CancelledError:
            self.stopped.set()
            raise


@pytest.fixture
def train(engine: FakeEngine, tmp_path: Path, sqlite_template: Path) -> Iterator[Callable[[Trainer], Running]]:
    """Starts a server that works on jobs with a trainer."""
    base, data = tmp_path / "base", tmp_path / "data"
    base.mkdir()
    data.mkdir()
    (base / "config.json").write_text("{}")
    layers = {f"model.layers.0.{layer}.weight": (4, 4) for layer in LINEAR_LAYERS}
    small_trainer.write_tensors(base / "model.safetensors", layers)
    (data / "attune.db").write_bytes(sqlite_template.read_bytes())
    settings = Settings(engine_url=engine.url, model=str(base), served_model_name=MODEL, data_dir=data)
    with ExitStack() as stack:
        yield lambda trainer: stack.enter_context(serving(settings, engine, trainer))


def client(running: Running, user: str = "ann") -> openai.OpenAI:
    return running.client(default_headers={"X-User-Id": user})


def edit(running: Running, count: int = 8) -> None:
    """Ann edits so many answers, and it is learned from them."""
    http = running.http(headers={"X-User-Id": "ann"})
    asked = [http.post("/v1/chat/completions", json=ask()).json()["id"] for _ in range(count)]
    edits = [{"type": "edit", "completion_id": id, "edited_text": "".join(EDITED)} for id in asked]
    given = [http.post("/v1/feedback", json=body).json()["id"] for body in edits]
    until(lambda: all(http.get(f"/v1/feedback/{id}").json()["status"] != "pending" for id in given), 20)


def ended(running: Running, job: FineTuningJob) -> FineTuningJob:
    jobs_of_ann = client(running).fine_tuning.jobs
    until(lambda: jobs_of_ann.retrieve(job.id).status in OVER, 20)
    return jobs_of_ann.retrieve(job.id)


def said(running: Running, job: FineTuningJob) -> list[str]:
    """The job's events, oldest first."""
    return [event.message for event in client(running).fine_tuning.jobs.list_events(job.id)][::-1]


def test_a_job_trains_the_next_version(train: Callable[[Trainer], Running]) -> None:
    printed = [{"event": "step", "step": n, "steps": 200, "loss": 2 - n / 200, "at": 5e9 + n} for n in range(1, 201)]
    running = train(Trainer(printed=printed))
    edit(running)
    running.engine.enqueue(*[Script(tokens=["No."])] * 4, *[Script(tokens=EDITED)] * 4)  # what serves, the candidate
    made = client(running).fine_tuning.jobs.create(**ASKED)
    assert made.status in ("queued", "running"), "the worker may have it already"
    assert (made.fine_tuned_model, made.finished_at, made.error) == (None, None, None)
    assert (made.object, made.model, made.training_file, made.organization_id) == (
        "fine_tuning.job",
        MODEL,
        EDITS,
        "local",
    )
    job = ended(running, made)
    assert (job.status, job.error, job.fine_tuned_model) == ("succeeded", None, "1")
    assert (job.trained_tokens, job.result_files, job.metadata) == (1234, [], {"user_id": "ann"})
    assert job.finished_at is not None
    assert job.finished_at >= job.created_at == made.created_at
    asking = running.http(headers={"X-User-Id": "ann"})
    until(lambda: asking.post("/v1/chat/completions", json=ask()).json()["attune"]["adapter_version"] == 1)
    told = said(running, job)
    assert told[:2] == ["Version 1 is queued, to be learned from the user's edits.", "Training has started."]
    steps = [1, *range(20, 201, 20)]
    assert told[2:13] == [f"Step {n}/200: training loss={2 - n / 200:.2f}" for n in steps]
    assert told[13].startswith("Trained.")
    assert told[14].startswith("admitted as adapter: on 4 held-out edits it costs 0.000")
    assert told[15:] == ["Version 1 is published and serves the user."]
    metrics = [event for event in client(running).fine_tuning.jobs.list_events(job.id) if event.type == "metrics"]
    assert metrics[0].data == {"step": 200, "total_steps": 200, "train_loss": 1}


def test_a_refusal_is_readable(train: Callable[[Trainer], Running]) -> None:
    running = train(Trainer())
    edit(running, 3)
    job = ended(running, client(running).fine_tuning.jobs.create(**ASKED))
    assert (job.status, job.fine_tuned_model, job.trained_tokens) == ("failed", None, None)
    assert job.error is not None
    assert job.error.to_dict() == {
        "code": "refused",
        "message": "refused: 3 edits are too few to learn from: at least 8 are needed.",
        "param": None,
    }
    last = client(running).fine_tuning.jobs.list_events(job.id).data[0]
    assert (last.level, last.message) == ("warn", job.error.message)


def test_what_fails_and_is_tried_again_has_not_failed(train: Callable[[Trainer], Running]) -> None:
    running = train(Trainer(failures=1))
    edit(running)
    made = client(running).fine_tuning.jobs.create(**ASKED)
    seen = set()

    def over() -> bool:
        seen.add(client(running).fine_tuning.jobs.retrieve(made.id).status)
        return not seen.isdisjoint(OVER)

    until(over, 20)
    job = ended(running, made)
    assert job.error is not None
    assert job.error.message.startswith("refused: on 4 held-out edits adapter costs 0.00 more than serving")


def test_a_queued_job_is_cancelled_at_once(start: Start) -> None:
    running = start()  # nobody works
    running.services.database.write_now(users.ensure, ANN)
    ours = client(running).fine_tuning.jobs
    made = ours.create(**ASKED)
    cancelled = ours.cancel(made.id)
    assert (cancelled.id, cancelled.status, cancelled.fine_tuned_model) == (made.id, "cancelled", None)
    assert cancelled.finished_at is not None
    assert ours.retrieve(made.id) == cancelled
    assert running.services.database.write_now(jobs.lease, ["train"], 60) is None
    version = running.http().get("/v1/users/ann/adapters").json()["data"][0]
    assert (version["state"], version["report"]["sentence"]) == ("failed", "failed: cancelled")
    assert said(running, made)[-1] == "failed: cancelled"
    with pytest.raises(openai.BadRequestError, match="has ended already: it is cancelled"):
        ours.cancel(made.id)
    assert ours.create(**ASKED).status == "queued"


def test_a_running_job_is_stopped(train: Callable[[Trainer], Running]) -> None:
    trainer = Trainer(hangs=True, printed=[{"event": "step", "step": 1, "steps": 9, "loss": 2.5, "at": 5e9}])
    running = train(trainer)
    edit(running)
    ours = client(running).fine_tuning.jobs
    made = ours.create(**ASKED)
    assert trainer.under_way.wait(20)
    until(lambda: "Step 1/9: training loss=2.50" in said(running, made))
    assert ours.retrieve(made.id).status == "running"
    assert ours.cancel(made.id).status == "cancelled"
    assert trainer.stopped.is_set()
    until(lambda: not list((running.services.directories.root / ".staging").glob("*")))
    trainer.hangs = False
    job = ended(running, ours.create(**ASKED))  # nothing of the old one is in the way
    assert ours.retrieve(made.id).status == "cancelled"
    assert job.status == "failed"
    with pytest.raises(openai.BadRequestError) as refused:
        ours.cancel(job.id)
    assert refused.value.body == {
        "message": f"The job {job.id} has ended already: it is failed.",
        "type": "invalid_request_error",
        "param": "id",
        "code": "invalid_value",
    }


def test_deleting_a_version_stops_its_training(train: Callable[[Trainer], Running]) -> None:
    trainer = Trainer(hangs=True)
    running = train(trainer)
    edit(running)
    ours = client(running).fine_tuning.jobs
    ours.create(**ASKED)
    assert trainer.under_way.wait(20)
    assert running.http().delete("/v1/users/ann/adapters/1").status_code == 200
    assert trainer.stopped.is_set()
    assert not list(ours.list())
    trainer.hangs = False
    assert ended(running, ours.create(**ASKED)).status == "failed", "the next one need not wait for it"


@pytest.mark.parametrize("end", ["cancelled", "deleted", "refused"])
def test_what_waited_for_a_training_serves_no_more_once_that_ends(
    train: Callable[[Trainer], Running], tmp_path: Path, end: str
) -> None:
    """Version 2 learned from an edit that was erased, and serves until another one is trained."""
    trainer = Trainer(hangs=end != "refused")
    running = train(trainer)
    database, registry = running.services.database, running.services.registry
    edit(running)
    for version in (1, 2):
        publish(running, version, "adapter", tmp_path)
        assert running.http().post(f"/v1/users/ann/adapters/{version}/activate").status_code == 200
    assert list(running.engine.adapters) == [f"{opaque_id(running)}.v2"]
    made = client(running).fine_tuning.jobs.create(**ASKED)
    database.write_now(versions.set_state, ANN, 2, "ready", report={serving_rows.MARKED: 1})
    if end == "cancelled":
        client(running).fine_tuning.jobs.cancel(made.id)
    elif end == "deleted":
        assert running.http().delete("/v1/users/ann/adapters/3").status_code == 200
    else:
        assert ended(running, made).status == "failed"
    until(lambda: list(running.engine.adapters) == [f"{opaque_id(running)}.v1"])
    until(lambda: not running.services.directories.path(opaque_id(running), 2).exists())
    assert registry.serving == 1
    answer = running.http(headers={"X-User-Id": "ann"}).post("/v1/chat/completions", json=ask()).json()
    assert answer["attune"]["adapter_version"] == 1


def opaque_id(running: Running) -> str:
    user = running.services.database.read_now(users.get, ANN)
    assert user is not None
    return user.opaque_id


def test_a_job_whose_holder_is_elsewhere_is_lost_to_it(start: Start) -> None:
    running = start()
    database = running.services.database
    database.write_now(users.ensure, ANN)
    made = client(running).fine_tuning.jobs.create(**ASKED)
    held = database.write_now(jobs.lease, ["train"], 60)
    assert held is not None
    assert client(running).fine_tuning.jobs.cancel(made.id).status == "cancelled"
    with pytest.raises(jobs.LostLease):
        database.write_now(jobs.renew, held, 60)
    with pytest.raises(jobs.LostLease):
        database.write_now(jobs.hold, held)


def test_one_that_was_published_is_not_cancelled(start: Start) -> None:
    """Its worker has published it, and not yet ended the job."""
    running = start()
    database = running.services.database
    database.write_now(users.ensure, ANN)
    made = client(running).fine_tuning.jobs.create(**ASKED)
    held = database.write_now(jobs.lease, ["train"], 60)
    assert held is not None
    database.write_now(versions.set_state, ANN, 1, "ready", report={"verdict": "admitted", "sentence": "admitted"})
    with pytest.raises(openai.BadRequestError, match="it is succeeded"):
        client(running).fine_tuning.jobs.cancel(made.id)
    database.write_now(jobs.finish, held)
    assert client(running).fine_tuning.jobs.retrieve(made.id).status == "succeeded"


def test_while_the_gate_judges_files_are_being_validated(start: Start) -> None:
    running = start()
    database = running.services.database
    database.write_now(users.ensure, ANN)
    made = client(running).fine_tuning.jobs.create(**ASKED)
    noted = {"started_at": 1.0, "progress": [], "trained_at": 2.0}
    database.write_now(versions.set_state, ANN, 1, "training", report={"training": noted})
    assert client(running).fine_tuning.jobs.retrieve(made.id).status == "validating_files"


def test_jobs_are_listed_in_pages_newest_first(start: Start) -> None:
    running = start()
    running.services.database.write_now(users.ensure, ANN)
    ours = client(running).fine_tuning.jobs
    made = []
    for _ in range(5):
        made.append(ours.create(**ASKED).id)
        ours.cancel(made[-1])
    assert [job.id for job in ours.list(limit=2)] == made[::-1]  # the client asks for the pages
    page = ours.list(limit=2, after=made[3])
    assert ([job.id for job in page.data], page.has_more) == ([made[2], made[1]], True)
    assert ours.list(limit=2, after=made[2]).has_more is False
    events = list(ours.list_events(made[0], limit=1))
    assert [event.message for event in events] == [event.message for event in ours.list_events(made[0])]
    assert len({event.id for event in events}) == len(events) == 2
    with pytest.raises(openai.NotFoundError, match="to go on after"):
        ours.list(after="ftjob-0")
    with pytest.raises(openai.BadRequestError, match="cannot be filtered"):
        ours.list(metadata={"team": "red"})
    assert running.http().delete("/v1/users/ann/adapters/5").status_code == 200
    assert [job.id for job in ours.list()] == made[3::-1]


def test_a_job_is_its_users_alone(start: Start) -> None:
    running = start()
    made = {}
    for user in ("ann", "ben"):
        running.services.database.write_now(users.ensure, Owner("local", user))
        made[user] = running.client().fine_tuning.jobs.create(**ASKED, metadata={"user_id": user})
        assert made[user].metadata == {"user_id": user}
    assert made["ann"].id != made["ben"].id
    theirs = client(running, "ben").fine_tuning.jobs
    for call in (theirs.retrieve, theirs.cancel, theirs.list_events):
        with pytest.raises(openai.NotFoundError) as refused:
            call(made["ann"].id)
        assert refused.value.param == "id"
    assert [job.id for job in theirs.list()] == [made["ben"].id]
    theirs.cancel(made["ben"].id)
    assert client(running).fine_tuning.jobs.retrieve(made["ann"].id).status == "queued"
    with pytest.raises(openai.NotFoundError):
        client(running, "stranger").fine_tuning.jobs.create(**ASKED)
    with pytest.raises(openai.BadRequestError, match="X-User-Id"):
        running.client().fine_tuning.jobs.create(**ASKED)
    with pytest.raises(openai.ConflictError, match="already being made"):
        client(running).fine_tuning.jobs.create(**ASKED)


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"training_file": "file-abc"}, "training_file"),
        ({"validation_file": "file-abc"}, "validation_file"),
        ({"suffix": "mine"}, "suffix"),
        ({"seed": 7}, "seed"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations"),
        ({"metadata": {"team": "red"}}, "metadata"),
        ({"hyperparameters": {"n_epochs": 3}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"batch_size": 4}}, "hyperparameters.batch_size"),
        ({"hyperparameters": {"learning_rate_multiplier": 0.5}}, "hyperparameters.learning_rate_multiplier"),
        ({"method": {"type": "supervised"}}, "method"),
        ({"extra_body": {"epochs": 3}}, "epochs"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_have_no_effect_is_refused_by_name(running: Running, wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client(running).fine_tuning.jobs.create(**{**ASKED, **wrong})
    assert refused.value.param == param


def test_what_says_nothing_else_is_accepted(running: Running) -> None:
    running.services.database.write_now(users.ensure, ANN)
    auto: Hyperparameters = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
    nothing: dict[str, Any] = {"validation_file": None, "suffix": None, "seed": None, "integrations": None}
    made = client(running).fine_tuning.jobs.create(**ASKED, **nothing, hyperparameters=auto)
    assert made.hyperparameters.to_dict() == auto


def test_another_model_is_not_found(running: Running) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client(running).fine_tuning.jobs.create(model="gpt-4o-mini", training_file=EDITS)
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")
