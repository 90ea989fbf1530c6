"""Prints what an image is made of, as CycloneDX 1.6: Debian's packages and Python's. Runs inside the image."""

import json
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from importlib import metadata
from typing import Any


def debian() -> list[dict[str, Any]]:
    """Each installed package, from dpkg."""
    shown = "${db:Status-Abbrev}\t${Package}\t${Version}\t${Architecture}\n"
    told = subprocess.run(["dpkg-query", "-W", f"-f={shown}"], capture_output=True, text=True, check=True).stdout
    rows = [line.split("\t") for line in told.splitlines() if line.startswith("ii")]
    return [
        {"type": "library", "name": name, "version": version, "purl": f"pkg:deb/debian/{name}@{version}?arch={arch}"}
        for _, name, version, arch in rows
    ]


def python() -> list[dict[str, Any]]:
    """Each installed distribution, with its license where it names one."""
    found = []
    for one in sorted(metadata.distributions(), key=lambda one: one.metadata["Name"].lower()):
        name, version = one.metadata["Name"], one.version
        license = one.metadata.get("License-Expression")
        licensed = {"licenses": [{"expression": license}]} if license else {}
        purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{version}"
        found.append({"type": "library", "name": name, "version": version, "purl": purl, **licensed})
    return found


if __name__ == "__main__":
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "component": {"type": "container", "name": "attune"},
        },
        "components": [*debian(), *python()],
    }
    json.dump(bom, sys.stdout, indent=1)
