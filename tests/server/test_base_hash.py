"""The served model's hash: known where this machine has the model."""

from pathlib import Path

from adapters.validation import base_sha256
from server.base_hash import BaseHash
from server.settings import BUNDLED_MODEL, Settings


async def test_it_is_known_where_the_model_is(tmp_path: Path) -> None:
    known = base_sha256(BUNDLED_MODEL)
    assert await BaseHash(Settings(data_dir=tmp_path))() == known
    assert await BaseHash(Settings(model=str(BUNDLED_MODEL), engine_url="http://gpu:8000"))() == known
    assert await BaseHash(Settings(engine_url="http://gpu:8000"))() is None
    assert await BaseHash(Settings(model="nobody/has-downloaded-this"))() is None
    assert await BaseHash(Settings(model=str(tmp_path / "missing")))() is None
