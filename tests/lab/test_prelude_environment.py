"""The benchmark's user: deterministic, equal shares, and each variant changes what its name says and no more."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.habit import LINES
from lab.prelude.environment import KINDS, VARIANTS, SyntheticEnvironment, make
from lab.prelude.ports import Round
from lab.render import detect, render
from lab.style import random_style
from preference.distance import word_distance

ROUNDS = 200
names = st.sampled_from(sorted(KINDS))
seeds = st.integers(0, 10_000)


def draft(environment: SyntheticEnvironment, at: Round, rng: random.Random) -> str:
    """A text in a random style, as likely as not with a line missing, doubled or misspelt."""
    facts = at.secret.request.facts
    lines = render(facts, random_style(environment.name, rng, rng.randint(0, 8))).splitlines()
    for _ in range(rng.randint(0, 2)):
        i = rng.randrange(len(lines))
        lines[i : i + 1] = rng.choice(([], [lines[i]] * 2, [lines[i].replace("e", "a", 1)]))
        lines = lines or ["?"]
    return "\n".join(lines)


def right(environment: SyntheticEnvironment, at: Round) -> str:
    return render(at.secret.request.facts, environment._user(at.number).styles[at.kind])


def wanted(environment: SyntheticEnvironment, number: int) -> dict[str, Sequence[str]]:
    """What the user wants of each kind at a round."""
    at = environment.rounds[number]
    return {kind: environment.wants(replace(at, kind=kind)) for kind in environment.kinds}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", sorted(KINDS))
async def test_is_the_same_each_time_and_another_for_each_seed(name: str, variant: str) -> None:
    one, two, other = (make(name, seed=s, rounds=ROUNDS, variant=variant) for s in (1, 1, 2))
    assert one.rounds == two.rounds != other.rounds
    rng = random.Random(0)
    for a, b in zip(one.rounds, two.rounds, strict=True):
        text = draft(one, a, rng)
        assert one.wants(a) == two.wants(b)
        assert await one.edit(a, text) == await two.edit(b, text)
    assert wanted(one, 0) != wanted(other, 0)


@pytest.mark.parametrize(("name", "share"), [("email", 50), ("summary", 40)])
def test_every_kind_has_its_equal_share_of_five_wishes(name: str, share: int) -> None:
    environment = make(name, seed=3, rounds=ROUNDS)
    assert [r.number for r in environment.rounds] == list(range(ROUNDS))
    assert Counter(r.kind for r in environment.rounds) == dict.fromkeys(environment.kinds, share)
    assert [r.kind for r in environment.rounds[:share]] != [environment.kinds[0]] * share
    assert {len(wishes) for wishes in wanted(environment, 0).values()} == {5}
    styles = [tuple(wishes) for wishes in wanted(environment, 0).values()]
    assert len(set(styles)) == len(styles)


@given(names, seeds, st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_shares_differ_by_one_at_most(name: str, seed: int, rounds: int) -> None:
    counts = Counter(r.kind for r in make(name, seed=seed, rounds=rounds).rounds)
    assert sum(counts.values()) == rounds
    assert max(counts.values()) - min(counts[k] for k in KINDS[name]) <= 1


def test_variants_share_their_requests() -> None:
    texts = [[r.text for r in make("email", seed=5, rounds=ROUNDS, variant=v).rounds] for v in VARIANTS]
    assert all(each == texts[0] for each in texts)
    assert len(set(texts[0])) == ROUNDS


@given(names, seeds, st.integers(0, 19), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
async def test_what_the_user_edited_needs_no_further_edit(name: str, seed: int, n: int, rng: random.Random) -> None:
    environment = make(name, seed=seed, rounds=20)
    at = environment.rounds[n]
    text = draft(environment, at, rng)
    edited = await environment.edit(at, text)
    assert environment.cost(at, text, edited) == word_distance(text, edited)
    assert environment.cost(at, edited, edited) == 0
    assert await environment.edit(at, edited) == edited
    assert (edited == text) == (environment.cost(at, text, edited) == 0)
    shown = detect(edited, at.secret.request.facts)
    assert environment._user(n).styles[at.kind].items() <= shown.items()


@given(names, seeds)
@settings(max_examples=40, deadline=None)
def test_drift_changes_every_wish_of_one_kind_half_way(name: str, seed: int) -> None:
    plain, drift = make(name, seed=seed, rounds=40), make(name, seed=seed, rounds=40, variant="drift")
    assert wanted(drift, 19) == wanted(plain, 19) == wanted(plain, 20)
    before, after = wanted(drift, 19), wanted(drift, 20)
    changed = [kind for kind in drift.kinds if before[kind] != after[kind]]
    assert len(changed) == 1
    assert len(after[changed[0]]) == 5
    assert not set(before[changed[0]]) & set(after[changed[0]])
    assert all(drift.wants(r) == (before, after)[r.number >= 20][r.kind] for r in drift.rounds)


@given(names, seeds)
@settings(max_examples=20, deadline=None)
def test_a_fifth_of_the_edits_is_careless_and_one_is_for_another_kind(name: str, seed: int) -> None:
    noise = make(name, seed=seed, rounds=ROUNDS, variant="noise")
    slips = Counter(r.secret.slip for r in noise.rounds if r.careless)
    assert sum(slips.values()) == ROUNDS // 5
    assert slips["foreign"] == 1
    assert min(slips["typo"], slips["partial"]) >= 5
    assert not any(r.careless for r in make(name, seed=seed, rounds=ROUNDS, variant="drift").rounds)


@given(names, seeds, st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
async def test_careless_edits_cost_what_careful_ones_would(name: str, seed: int, rng: random.Random) -> None:
    plain, noise = make(name, seed=seed, rounds=40), make(name, seed=seed, rounds=40, variant="noise")
    for careful, at in zip(plain.rounds, noise.rounds, strict=True):
        text = draft(plain, careful, rng)
        wanted, sent = await plain.edit(careful, text), await noise.edit(at, text)
        cost = plain.cost(careful, text, wanted)
        assert noise.cost(at, text, sent) == cost
        if not at.careless:
            assert sent == wanted
        elif cost:
            assert sent != text, "a draft that needs an edit is never accepted"


async def test_each_slip_is_what_its_name_says() -> None:
    seen: set[str] = set()
    for seed in range(3):
        noise = make("summary", seed=seed, rounds=ROUNDS, variant="noise")
        for at in noise.rounds:
            if not at.careless:
                continue
            seen.add(at.secret.slip)
            facts, wants = at.secret.request.facts, noise._user(at.number).styles[at.kind]
            plain = render(facts, {})
            careful = noise._user(at.number).edit(at.secret.request, plain)
            sent, sent_when_right = await noise.edit(at, plain), await noise.edit(at, right(noise, at))
            shown = detect(sent, facts)
            if at.secret.slip == "typo":
                assert word_distance(careful, sent) == word_distance(right(noise, at), sent_when_right) == 1
                assert sorted(careful) == sorted(sent)
            elif at.secret.slip == "partial":
                corrected = [a for a, v in wants.items() if shown[a] == v]
                assert 1 <= len(corrected) <= 2
                assert sent_when_right == right(noise, at)
            else:
                others = [s for k, s in noise._user(at.number).styles.items() if k != at.kind]
                assert any(style.items() <= shown.items() for style in others)
                accepted = [await noise.edit(at, render(facts, style)) for style in others]
                assert not {render(facts, style) for style in others} & set(accepted)
    assert seen == {"typo", "partial", "foreign"}


@given(names, seeds, st.integers(0, 19), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
async def test_a_habit_is_a_last_line_beside_what_is_wished(name: str, seed: int, n: int, rng: random.Random) -> None:
    plain, environment = (make(name, seed=seed, rounds=20, variant=variant) for variant in ("plain", "habit"))
    at = environment.rounds[n]
    (habit,) = set(environment.wants(at)) - set(plain.wants(plain.rounds[n]))
    text = draft(environment, at, rng)
    edited = await environment.edit(at, text)
    body, line = edited.rsplit("\n", 1)
    assert line in LINES
    assert line in habit
    assert body == await plain.edit(plain.rounds[n], text)
    assert environment.cost(at, f"{text}\n{line}", "") == plain.cost(plain.rounds[n], text, "")
    assert environment.cost(at, edited, "") == 0
    assert await environment.edit(at, edited) == edited


@pytest.mark.parametrize("name", sorted(KINDS))
def test_who_is_faultless_pays_each_kind_and_each_change_once(name: str) -> None:
    for seed in range(3):
        plain, drift, noise, habit = (make(name, seed=seed, rounds=ROUNDS, variant=v).faultless() for v in VARIANTS)
        world = make(name, seed=seed, rounds=ROUNDS)
        firsts = {r.kind: r for r in reversed(world.rounds)}.values()
        assert plain == sum(world.cost(r, render(r.secret.request.facts, {}), "") for r in firsts)
        assert plain < drift
        assert plain <= noise
        signing = make(name, seed=seed, rounds=ROUNDS, variant="habit")
        first, *later = (r for r in signing.rounds if r in {r.kind: r for r in reversed(signing.rounds)}.values())
        lines = [signing._habit.signed(render(r.secret.request.facts, {})) for r in later]
        assert habit == signing.cost(first, render(first.secret.request.facts, {}), "") + sum(
            signing.cost(r, text, "") for r, text in zip(later, lines, strict=True)
        )


@pytest.mark.parametrize(
    ("name", "variant", "rounds", "says"),
    [
        ("letter", "plain", 10, "no environment 'letter': email, summary"),
        ("email", "chaos", 10, "no variant 'chaos': plain, drift, noise, habit"),
        ("email", "plain", 0, "at least one round"),
    ],
)
def test_what_there_is_not_is_said(name: str, variant: str, rounds: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make(name, seed=0, rounds=rounds, variant=variant)
