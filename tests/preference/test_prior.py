"""What most users of a tenant share in a kind of request is tried with another one; what few share is not."""

import pytest

from preference import context_rows, preferences, prior
from preference.evidence import TENTATIVE
from preference.prior import LEAST, Prior, take_over
from preference.recall.index import RecallLimits
from preference.recall.recall import Recall
from store import users
from store.database import Database
from store.owner import Owner
from store.users import User
from tests.preference.oracle import WordEmbedder

EMBEDDER = WordEmbedder()
LETTER = "a letter about rent"
NEW = Owner("acme", "new")
REQUEST = [{"role": "user", "content": "a letter about rent and heating"}]


def learn(database: Database, owner: Owner, text: str, context: str = LETTER, feedback_id: str = "fb-1") -> str:
    database.write_now(users.ensure, owner)
    made = database.write_now(preferences.create, owner, text, "learned")
    database.write_now(
        context_rows.add, owner, made.id, feedback_id=feedback_id, text=context, embedder=EMBEDDER.name,
        vector=EMBEDDER.embed([context])[0],
    )  # fmt: skip
    return made.id


def of(number: int, tenant: str = "acme") -> Owner:
    return Owner(tenant, f"user {number}")


class World:
    """A store, and its recall."""

    def __init__(self, database: Database, tenants: tuple[str, ...] = ("acme",)) -> None:
        self.database = database
        self.now = 0.0
        self.recall = Recall(database, EMBEDDER, RecallLimits(alike=0.5, budget=100))
        self.prior = Prior(database, EMBEDDER, self.recall, tenants, clock=lambda: self.now)
        database.write_now(users.ensure, NEW)

    async def welcome(self, owner: Owner = NEW) -> list[str]:
        """What applies to ``REQUEST`` after the user was welcomed."""
        user = self.database.read_now(users.get, owner)
        assert user is not None
        await self.prior.welcome(user, REQUEST)  # reads what is shared
        await self.prior.settled()
        welcomed: User = await self.prior.welcome(user, REQUEST)
        return [one.text for one in await self.recall.recall(welcomed, REQUEST, k=10)]


async def test_what_most_share_is_tried_and_an_edit_without_it_ends_it(database: Database) -> None:
    world = World(database)
    for number in range(LEAST):
        learn(database, of(number), ("Be brief.", "be brief", "Be brief")[number])
        learn(database, of(number), f"Sign with {number}", feedback_id="fb-2")
        learn(database, of(number), "Use bullet points", "quarterly sales report", feedback_id="fb-3")
    assert await world.welcome() == ["Be brief"]
    (held,) = database.read_now(preferences.active, NEW)
    (context,) = database.read_now(context_rows.of, NEW, held.id)
    assert (context.text, context.weight) == (REQUEST[0]["content"], TENTATIVE), "the situation is the user's own"
    assert await world.welcome() == ["Be brief"], "once"
    assert len(database.read_now(preferences.active, NEW)) == 1
    learn(database, NEW, "Use emojis", REQUEST[0]["content"], feedback_id="fb-own")
    assert await world.welcome() == ["Use emojis"]


@pytest.mark.parametrize("few", ["users", "of them", "tenant", "opted out", "taken over", "withdrawn"])
async def test_what_few_share_is_not(database: Database, few: str) -> None:
    world = World(database, () if few == "opted out" else ("acme",))
    for number in range(LEAST - (few == "users")):
        owner = of(number, "other" if few == "tenant" else "acme")
        own = "prior-1" if few == "taken over" and number == 0 else "fb-1"
        id = learn(database, owner, "Be brief", feedback_id=own)
        if few == "withdrawn" and number == 0:
            database.write_now(preferences.delete, owner, id)
    for number in range(LEAST + 1 if few == "of them" else 0):
        learn(database, of(10 + number), f"Something else, number {number}")
    assert await world.welcome() == []
    assert database.read_now(preferences.active, NEW) == []


async def test_who_knows_the_kind_is_not_welcomed(database: Database) -> None:
    world = World(database)
    for number in range(LEAST):
        learn(database, of(number), "Be brief")
    learn(database, NEW, "Give all the detail")
    assert await world.welcome() == ["Give all the detail"]


async def test_what_was_erased_meanwhile_is_shared_no_more(database: Database) -> None:
    world = World(database)
    for number in range(LEAST):
        learn(database, of(number), "Be brief")
    held = database.read_now(prior.of_tenant, "acme", EMBEDDER.name)
    found = prior.shared(held, NEW.user)
    assert [one.text for one in found] == ["Be brief"]
    database.write_now(users.delete, of(0))
    vector = EMBEDDER.embed([LETTER])[0]
    tried = database.write_now(take_over, NEW, found, text=LETTER, embedder=EMBEDDER.name, vector=vector)
    assert tried == []
    assert world.database.read_now(preferences.active, NEW) == []


async def test_the_words_of_who_was_erased_meanwhile_are_not_taken_over(database: Database) -> None:
    """Enough others prefer the same, but in words of their own."""
    for number in range(LEAST + 1):
        learn(database, of(number), "be brief" if number == LEAST else "Be brief.")
    found = prior.shared(database.read_now(prior.of_tenant, "acme", EMBEDDER.name), NEW.user)
    assert [one.text for one in found] == ["be brief"], "the newest one's"
    database.write_now(users.delete, of(LEAST))
    database.write_now(users.ensure, NEW)
    vector = EMBEDDER.embed([LETTER])[0]
    assert database.write_now(take_over, NEW, found, text=LETTER, embedder=EMBEDDER.name, vector=vector) == []
    found = prior.shared(database.read_now(prior.of_tenant, "acme", EMBEDDER.name), NEW.user)
    tried = database.write_now(take_over, NEW, found, text=LETTER, embedder=EMBEDDER.name, vector=vector)
    assert tried == ["Be brief."]


async def test_what_is_tried_counts_among_the_contexts_that_a_user_may_have(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_rows.bound, "__defaults__", (2,))
    for number in range(LEAST):
        learn(database, of(number), "Be brief")
    learn(database, NEW, "Use emojis", "a song")
    found = prior.shared(database.read_now(prior.of_tenant, "acme", EMBEDDER.name), NEW.user)
    vector = EMBEDDER.embed([LETTER])[0]
    for _ in range(4):
        database.write_now(take_over, NEW, found, text=LETTER, embedder=EMBEDDER.name, vector=vector)
    held = database.read_now(context_rows.by_embedder, NEW, EMBEDDER.name)
    assert len({one.feedback_id for one in held}) == 2
