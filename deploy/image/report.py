"""Says what an image is: its size, its layers and what it is made of. `report.py TAG FOLDER`, after build.sh."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path


def main(tag: str, folder: Path) -> None:
    """Print it, and write FOLDER/image.json."""
    held = json.loads((folder / "inspect.json").read_text())
    bom = json.loads((folder / "sbom.json").read_text())
    image, manifest = held["OCIv1"], json.loads(held["Manifest"])
    made = [step["created_by"].removeprefix("/bin/sh -c ") for step in image["history"] if not step.get("empty_layer")]
    listed = json.loads(subprocess.check_output(["buildah", "images", "--json", tag]))
    told = {
        "tag": tag,
        "id": held["FromImageID"],
        "size": listed[0]["size"],
        "user": image["config"]["User"],
        "layers": [
            {"bytes": layer["size"], "made_by": how[:100]} for layer, how in zip(manifest["layers"], made, strict=True)
        ],
        "packages": Counter(part["purl"].split("/")[0].removeprefix("pkg:") for part in bom["components"]),
    }
    (folder / "image.json").write_text(json.dumps(told, indent=1))
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
