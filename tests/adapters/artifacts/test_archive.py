"""A tar file is read as its bytes come, and nothing in it gets anywhere but into the two or three files it may hold."""

import io
import random
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.artifacts.archive import Archive
from store.errors import Invalid

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FILES = {f"adapter-v1/{CONFIG}": b"{}", f"adapter-v1/{WEIGHTS}": bytes(range(256)) * 9, "adapter-v1/README.md": b"# A"}


def tar(files: dict[str, bytes], format: int = tarfile.PAX_FORMAT, **member: object) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=format) as archive:
        folder = tarfile.TarInfo("adapter-v1")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in member.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


def unpack(folder: Path, content: bytes, piece: int = 1000, limit: int = 10_000) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    with Archive(folder, limit) as archive:
        for start in range(0, len(content), piece):
            archive.feed(content[start : start + piece])
        archive.close()
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("piece", [1, 511, 512, 100_000])
def test_the_files_come_out_whatever_the_pieces(tmp_path: Path, format: int, piece: int) -> None:
    found = unpack(tmp_path / "out", tar(FILES, format, mtime=1.5 if format == tarfile.PAX_FORMAT else 1), piece)
    assert found == {name.rpartition("/")[2]: content for name, content in FILES.items() if "README" not in name}


def test_names_lead_nowhere_else(tmp_path: Path) -> None:
    unpack(tmp_path / "out", tar({f"../../{CONFIG}": b"1", f"/etc/{WEIGHTS}": b"2"}))
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        f"out/{CONFIG}", f"out/{WEIGHTS}",
    }  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        tar({"adapter_model.bin": b"pickle"}),
        tar({CONFIG: b"{}", f"other/{CONFIG}": b"{}"}),
        tar({CONFIG: b"{}"}, type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0),
        tar({CONFIG: b"{}"}, type=tarfile.LNKTYPE, linkname="x", size=0),
        tar({CONFIG: b"{}"}, type=tarfile.CHRTYPE, size=0),
        tar({CONFIG: b"{}"}, type=tarfile.GNUTYPE_SPARSE),
        tar({CONFIG: b"{}" * 40_000}),
        tar({WEIGHTS: bytes(10_001)}),
        tar({"README.md": bytes(70_000)}),
        tar({"x" * 70_000: b"{}"}),
        tar(FILES)[:3000],
        tar({}),
        b"",
        b"PK\x03\x04" + bytes(600),
        b"\x1f\x8b" + bytes(range(256)) * 4,
    ],
)
def test_what_is_no_adapter_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Invalid):
        unpack(tmp_path / "out", content)


@given(st.data())
def test_no_bytes_do_any_harm(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Changed at random, it is refused, or is still three small files."""
    rng = random.Random(data.draw(st.integers()))
    content = bytearray(tar(FILES))
    for _ in range(data.draw(st.integers(0, 20))):
        content[rng.randrange(len(content))] = rng.randrange(256)
    folder = tmp_path_factory.mktemp("any")
    try:
        found = unpack(folder / "out", bytes(content), rng.randrange(1, 5000))
    except Invalid:
        found = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}
    assert found.keys() <= {CONFIG, WEIGHTS, "manifest.json"}
    assert all(len(held) <= 1024 * 1024 for held in found.values())
    assert [path for path in folder.iterdir() if path.name != "out"] == []
