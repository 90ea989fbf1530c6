"""Rows of API keys: only digests are stored, and only a working key has a tenant."""

import pytest
from sqlalchemy import select

from store import keys
from store.database import Database
from store.errors import Invalid, NotFound
from store.tables import api_keys
from tests.preference.helpers import NOT_STORABLE


def tenant_of(database: Database, plain: str) -> str | None:
    found = database.read_now(keys.find, plain)
    return None if found is None else found.tenant


def test_a_key_speaks_for_its_tenant_until_revoked(database: Database) -> None:
    assert not database.read_now(keys.any_ever)
    id, plain = database.write_now(keys.create, "acme", "production")
    _, other = database.write_now(keys.create, "globex", "production")
    assert plain.startswith("att-")
    assert len(plain) == len("att-") + 43  # 256 bits
    assert tenant_of(database, plain) == "acme"
    assert tenant_of(database, other) == "globex"
    assert [(k.tenant, k.name, k.revoked_at) for k in database.read_now(keys.list_all)] == [
        ("acme", "production", None),
        ("globex", "production", None),
    ]
    database.write_now(keys.revoke, id)
    assert tenant_of(database, plain) is None
    assert tenant_of(database, other) == "globex"
    assert database.read_now(keys.any_ever)
    assert database.read_now(keys.list_all)[0].revoked_at is not None
    with pytest.raises(NotFound):
        database.write_now(keys.revoke, id)


def test_a_key_has_limits_of_its_own_or_the_servers(database: Database) -> None:
    _, plain = database.write_now(keys.create, "acme", "plain")
    id, limited = database.write_now(keys.create, "acme", "limited", requests_per_minute=0, in_flight=3)
    found = database.read_now(keys.find, plain)
    assert found is not None
    assert (found.requests_per_minute, found.in_flight) == (None, None)
    found = database.read_now(keys.find, limited)
    assert found is not None
    assert (found.id, found.requests_per_minute, found.in_flight) == (id, 0, 3)
    assert database.read_now(keys.list_all)[1] == found


@pytest.mark.parametrize(
    ("param", "limit"),
    [("requests_per_minute", -1), ("in_flight", 0), ("requests_per_minute", keys.MAX_LIMIT + 1), ("in_flight", 2**40)],
)
def test_a_limit_that_cannot_be_is_named(database: Database, param: str, limit: int) -> None:
    with pytest.raises(Invalid) as caught:
        database.write_now(keys.create, "acme", "n", **{param: limit})
    assert caught.value.param == param
    assert not database.read_now(keys.list_all)


def test_the_plain_key_is_nowhere_in_the_rows(database: Database) -> None:
    _, plain = database.write_now(keys.create, "acme", "production")
    row = database.read_now(lambda c: c.execute(select(api_keys)).one())
    assert plain not in str(tuple(row))


@pytest.mark.parametrize("plain", ["", "att-", "att-wrong", *NOT_STORABLE])
def test_a_wrong_key_has_no_tenant(database: Database, plain: str) -> None:
    database.write_now(keys.create, "acme", "production")
    assert database.read_now(keys.find, plain) is None


@pytest.mark.parametrize(
    ("tenant", "name", "param"),
    [
        ("", "n", "tenant"),
        ("a\x00", "n", "tenant"),
        ("t" * 65, "n", "tenant"),
        ("t", "", "name"),
        ("t", "\x00", "name"),
    ],
)
def test_a_bad_name_is_named(database: Database, tenant: str, name: str, param: str) -> None:
    with pytest.raises(Invalid) as caught:
        database.write_now(keys.create, tenant, name)
    assert caught.value.param == param


@pytest.mark.parametrize("id", ["nothing", "a\x00"])
def test_an_unknown_key_is_not_found(database: Database, id: str) -> None:
    with pytest.raises(NotFound):
        database.write_now(keys.revoke, id)


def test_several_tenants_are_those_with_keys_that_work(database: Database) -> None:
    assert not database.read_now(keys.several_tenants)
    for name in ("a", "b"):
        database.write_now(keys.create, "acme", name)
    assert not database.read_now(keys.several_tenants)
    id, _ = database.write_now(keys.create, "other", "c")
    assert database.read_now(keys.several_tenants)
    database.write_now(keys.revoke, id)
    assert not database.read_now(keys.several_tenants)
