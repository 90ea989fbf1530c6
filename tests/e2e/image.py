"""The image, run: it answers, keeps its data, stops when told to. `make test-image`, as root, after `make image`.

Not a part of `make test`: building it takes minutes and gigabytes. ATTUNE_PODMAN has further arguments of `podman run`.
"""

import os
import shlex
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from lab.child import free_port

pytestmark = pytest.mark.timeout(900)
IMAGE = os.environ.get("ATTUNE_IMAGE", "localhost/attune")
USER = "10001"
GRACE = 45
"""Seconds before it is killed, as docs/operations.md says."""


def podman(*arguments: str, **more: Any) -> str:
    environment = {"STORAGE_DRIVER": "vfs", **os.environ}
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, env=environment, **more)
    assert done.returncode == 0, done.stderr[-2000:]
    return str(done.stdout).strip()


@dataclass
class Container:
    """One data folder, and what runs on it: on a read-only root, without capabilities, as the image's own user."""

    data: Path
    name: str = field(default_factory=lambda: f"attune-{uuid.uuid4().hex[:8]}")
    port: int = field(default_factory=free_port)

    @property
    def flags(self) -> list[str]:
        return [
            *("--network", "host", "--read-only", "--tmpfs", "/tmp:rw,exec", "--cap-drop", "all"),
            *(
                "--security-opt",
                "no-new-privileges",
                "--volume",
                f"{self.data}:/data",
                "--env",
                f"ATTUNE_PORT={self.port}",
                "--env",
                "ATTUNE_MODEL=attune-tiny",
            ),
            *shlex.split(os.environ.get("ATTUNE_PODMAN", "")),
        ]

    def run(self, *command: str) -> str:
        return podman("run", "--rm", *self.flags, IMAGE, *command)

    def start(self) -> None:
        podman("run", "--detach", "--name", self.name, "--stop-timeout", str(GRACE), *self.flags, IMAGE)
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/ready", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert podman("inspect", "--format", "{{.State.Running}}", self.name) == "true", self.logs()
            time.sleep(0.5)
        raise AssertionError(f"it did not become ready: {self.logs()}")

    def logs(self) -> str:
        return podman("logs", "--tail", "30", self.name)

    def stop(self) -> tuple[float, int]:
        """As an orchestrator does: SIGTERM, and SIGKILL after the grace; the seconds it took, and its status."""
        started = time.monotonic()
        podman("stop", "--time", str(GRACE), self.name)
        took = time.monotonic() - started
        return took, int(podman("inspect", "--format", "{{.State.ExitCode}}", self.name))

    def remove(self) -> None:
        podman("rm", "--force", "--ignore", self.name)


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, int(USER), int(USER))
    made = Container(data)
    yield made
    made.remove()


def test_it_answers_keeps_its_data_and_stops_in_time(container: Container) -> None:
    key = container.run("attune", "keys", "create", "app", "--json").split('"key": "')[1].split('"')[0]
    started = time.monotonic()
    container.start()
    ready = time.monotonic() - started
    assert podman("exec", container.name, "id", "-u") == USER
    with pytest.raises(AssertionError, match="Read-only file system"):
        podman("exec", container.name, "touch", "/app/changed")
    base = f"http://127.0.0.1:{container.port}"
    assert httpx.get(f"{base}/v1/models").status_code == 401
    client = OpenAI(base_url=f"{base}/v1", api_key=key, default_headers={"X-User-Id": "ann"}, max_retries=0)

    def ask() -> str:
        answer = client.chat.completions.create(
            model="attune-tiny", messages=[{"role": "user", "content": "Write an email to Ann, my client."}],
            temperature=0, max_tokens=60,
        )  # fmt: skip
        return answer.id if answer.choices[0].message.content else ""

    answered = ask()
    assert answered
    took, status = container.stop()

    assert took < GRACE
    assert status == 0, container.logs()
    owners = {path.stat().st_uid for path in container.data.rglob("*")}
    assert owners == {int(USER)}
    container.remove()
    container.start()
    kept = httpx.get(f"{base}/v1/turns/{answered}", headers={"Authorization": f"Bearer {key}", "X-User-Id": "ann"})
    assert kept.status_code == 200, kept.text
    assert ask()
    container.stop()
    print(f"ready in {ready:.1f} s, stopped in {took:.1f} s")
