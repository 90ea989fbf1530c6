"""Schemathesis against every route that the OpenAPI document names, on a real server before the scripted engine.

`python -m tests.server.fuzz [OPTION...]`: further options go to `schemathesis run`, as `--max-examples 1000`.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from server.fine_tuning import job_id
from server.settings import Settings
from store import keys, users
from store.owner import Owner
from tests.server.conftest import Running, WordEmbedder, ask, serving, until
from tests.server.dialects.test_chat import publish
from tests.server.fake_engine import MODEL, FakeEngine

USER = "ann"
OTHER = "ben"
PUBLISHED = range(1, 6)
VERSIONS = list(range(9))
"""Of these those are there; the next are made by requests, one after the other has been deleted or cancelled."""
ADAPTERS = "/v1/users/{user}/adapters"
"""Each operation of these has a user of its own beside: what one of them pins or deletes, another cannot serve."""
ERASE = "DELETE /v1/users/{user}"


def fuzz(folder: Path, *options: str) -> list[dict[str, Any]]:
    """The reports of two runs: all routes but the one that erases users, then that one. Same options, same requests.

    Left out is the check that what fits the document is accepted: no schema says that a user id is printable or that
    ``k`` and ``personalize`` go together.
    """
    with FakeEngine() as engine:
        settings = Settings(engine_url=engine.url, data_dir=folder / "data", worker_in_process=False)
        with serving(settings, engine) as running:
            document = running.http().get("/openapi.json").json()
            del document["paths"][f"{ADAPTERS}/import"]  # schemathesis makes no tar: test_adapter_import.py does
            lines = document["paths"]["/v1/users/{user}/import"]["post"]["requestBody"]["content"]
            lines["application/octet-stream"] = lines.pop("application/jsonl")  # which schemathesis cannot write
            _informed(document, _seed(running))
            for name, schema in document["components"]["schemas"].items():
                if name.startswith("Turn"):  # a demonstration's draft is of no model
                    schema["properties"].get("model", {}).pop("enum", None)
            _with_adapters(document, running, folder)
            (folder / "openapi.json").write_text(json.dumps(document))
            _, key = running.services.database.write_now(keys.create, "local", "fuzz")
            until(lambda: running.http().get("/v1/models").status_code == 401)  # it is noticed within a second
            command = [
                *(str(Path(sys.executable).parent / "schemathesis"), "run", "openapi.json", "--url", running.url),
                *("--header", f"Authorization: Bearer {key}", "--header", f"X-User-Id: {USER}"),
                *("--exclude-checks", "positive_data_acceptance"),
                *("--generation-deterministic", "--no-shrink", "--continue-on-failure", "--no-color"),
                *("--request-timeout", "20", "--report", "json", "--report-json-path", "report.json"),
                *options,
            ]
            reports = []
            for chosen in ("--exclude-name", "--include-name"):
                subprocess.run([*command, chosen, ERASE], cwd=folder, check=False)
                reports.append(json.loads((folder / "report.json").read_text()))
            return reports


def _seed(running: Running) -> dict[str, list[Any]]:
    """Values that fit what ``USER`` has, by the names that parameters and fields have for them."""
    http = running.http(headers={"X-User-Id": USER})
    completion = http.post("/v1/chat/completions", json=ask()).json()["id"]
    edit = {"type": "edit", "completion_id": completion, "edited_text": "Hello, dear world!"}
    stated = {"text": "Be brief", "context": "Write an email to Ann"}
    user, _ = (running.services.database.write_now(users.ensure, Owner("local", name)) for name in (USER, OTHER))
    return {
        "model": [MODEL],
        "user": [USER, OTHER],
        "version": VERSIONS,
        "completion_id": [completion],
        "choice": [0],
        "edited_text": ["Hello, dear world!", "Hi!"],
        "id": [
            http.post("/v1/feedback", json=edit).json()["id"],
            http.post(f"/v1/users/{USER}/preferences", json=stated).json()["id"],
            *(job_id(user, version) for version in VERSIONS),
        ],
    }


def _informed(document: dict[str, Any], known: dict[str, list[Any]]) -> None:
    """Make these values as likely in the document as any other, or nearly all requests would be answered by 404.

    They are the examples, too. The model is always the one that is served, or the embedder.
    """
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                name = parameter["name"]
                if name in known:
                    parameter["schema"] = {"anyOf": [{"enum": known[name]}, parameter["schema"]]}
    for title, schema in document["components"]["schemas"].items():
        for name, field in schema.get("properties", {}).items():
            if name == "model":
                schema["properties"][name] = {
                    "enum": [WordEmbedder.name] if title.startswith("Embedding") else known[name]
                }
            elif name in known:
                schema["properties"][name] = {"anyOf": [{"enum": known[name]}, field], "examples": known[name]}


def _with_adapters(document: dict[str, Any], running: Running, folder: Path) -> None:
    """Give each operation on adapters, and the document for it, a user of its own with versions."""
    for path, operations in document["paths"].items():
        if path.startswith(ADAPTERS):
            for method, operation in operations.items():
                owner = Owner("local", f"{method}-{path.rsplit('/', 1)[1].strip('{}')}")
                for version in PUBLISHED:
                    publish(running, version, "adapter", folder, owner=owner)
                known = {"user": [owner.user], "version": list(PUBLISHED)}
                for parameter in operation["parameters"]:
                    if parameter["name"] in known:
                        parameter["schema"]["anyOf"].insert(0, {"enum": known[parameter["name"]]})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        sys.exit(any(report["failures"] or report["errors"] for report in fuzz(Path(name), *sys.argv[1:])))
