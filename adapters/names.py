"""Names of adapters in the engine: they say whose, and which version."""


def engine_name(opaque_id: str, version: int) -> str:
    """The name an adapter version carries in the engine."""
    return f"{opaque_id}.v{version}"


def user_of(name: str) -> str:
    """The opaque id in the name of an adapter in the engine, or of a folder in staging."""
    return name.partition(".")[0]
