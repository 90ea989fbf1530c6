from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.dataset import MAX_EDITS, MAX_HELD_OUT, MAX_THUMBS, MIN_EDITS, build, unpaired_row
from preference.prompt import compose
from store.errors import Invalid
from store.values import Value
from tests.adapters.fakes import make_edit, make_thumb


@given(st.integers(MIN_EDITS, 600))
def test_the_newest_are_held_out_and_the_split_is_a_partition(count: int) -> None:
    edits = [make_edit(i) for i in range(count)]
    made = build(edits)
    used = edits[-MAX_EDITS:]
    held = [asked.feedback_id for asked in made.held_out]
    assert made.learned_from + held == [edit.feedback_id for edit in used]
    assert len(held) == min(MAX_HELD_OUT, max(4, -(-len(used) // 5)))
    assert made.learned_through == used[len(made.learned_from) - 1].created_at
    targets = {row["completion"][0]["content"] for row in made.rows}
    assert not targets & {asked.target for asked in made.held_out}


def test_a_turn_with_preferences_gives_a_row_with_and_one_without_them() -> None:
    values = [Value(preference="Be kind")]
    edits = [make_edit(i, values=values, preferences=["No emojis."]) for i in range(4)] + [
        make_edit(i) for i in range(4, 8)
    ]
    made = build(edits)
    request = edits[0].turn.request
    prompts = [row["prompt"] for row in made.rows if row["completion"][0]["content"] == "edited 0"]
    assert len(made.rows) == 8
    assert compose(request, values) in prompts
    assert compose(request, values, ["No emojis."]) in prompts


def test_the_prompts_are_those_that_were_served() -> None:
    edits = [make_edit(i, values=[Value(preference="Be kind")], preferences=["No emojis."]) for i in range(8)]
    asked = build(edits).held_out[-1]
    assert asked.messages(with_preferences=True) == edits[-1].turn.prompt
    assert asked.messages(with_preferences=False) == compose(edits[-1].turn.request, edits[-1].turn.applied_values)


def test_a_row_says_what_was_changed_and_an_accepted_one_does_not() -> None:
    edits = [make_edit(i, f"b {i}", answer="a") for i in range(4)] + [
        make_edit(i, "fine", answer="fine") for i in (4, 5)
    ]
    made = build([*edits, *(make_edit(i) for i in range(6, 10))])
    by_text = {row["completion"][0]["content"]: row for row in made.rows}
    assert by_text["b 0"]["rejected"] == [{"role": "assistant", "content": "a"}]
    assert by_text["b 0"]["cost"] == edits[0].cost == 1.0
    assert by_text["fine"].keys() == {"prompt", "completion"}


def test_a_row_has_its_request_under_preferences_of_another() -> None:
    wishes: tuple[list[str], ...] = (["No emojis."], ["Use bullets."], ["No emojis."], [])
    edits = [make_edit(i, preferences=applied) for i, applied in enumerate(wishes)]
    rows = build([*edits, *(make_edit(i) for i in range(4, 8))]).rows
    found = {row["completion"][0]["content"]: row["corrupted"] for row in rows if "corrupted" in row}
    expected = {0: 1, 1: 0, 2: 1}
    assert found == {
        f"edited {i}": compose(edits[i].turn.request, edits[i].turn.applied_values, wishes[other])
        for i, other in expected.items()
    }


def test_a_row_has_its_request_under_values_that_were_stated_elsewhere() -> None:
    kind, brief = [Value(preference="Be kind")], [Value(preference="Be brief")]
    edits = [
        make_edit(i, values=values, preferences=["No emojis."]) for i, values in enumerate((kind, brief, kind, ()))
    ]
    rows = build([*edits, *(make_edit(i) for i in range(4, 8))]).rows
    found = {row["completion"][0]["content"]: row["contrast"] for row in rows if "contrast" in row}
    expected = {0: brief, 1: kind, 2: brief}
    assert found == {f"edited {i}": compose(edits[i].turn.request, values) for i, values in expected.items()}
    alone = [make_edit(i, values=kind) for i in range(8)]
    assert not any("contrast" in row for row in build(alone).rows)


def test_accepted_answers_count() -> None:
    edits = [make_edit(i, "fine", answer="fine") for i in range(8)]
    assert {edit.cost for edit in edits} == {0.0}
    assert len(build(edits).rows) == 4


def test_equal_seeds_give_equal_rows_and_another_seed_another_order() -> None:
    edits = [make_edit(i) for i in range(40)]
    assert build(edits, seed=1).rows == build(edits, seed=1).rows
    assert build(edits, seed=1).rows != build(edits, seed=2).rows
    key = str
    assert sorted(map(key, build(edits, seed=1).rows)) == sorted(map(key, build(edits, seed=2).rows))


def test_too_few_edits_are_refused_readably() -> None:
    with pytest.raises(Invalid, match=f"{MIN_EDITS - 1} edits are too few"):
        build([make_edit(i) for i in range(MIN_EDITS - 1)])


def test_what_is_not_text_is_left_out_and_parts_become_text() -> None:
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
    parts = [{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}]
    called = [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, {"role": "user", "content": "go"}]
    edits = [make_edit(0, request=picture), make_edit(1, request=called)]
    edits += [make_edit(i, request=parts) for i in range(2, 10)]
    made = build(edits)
    assert made.learned_from == [f"fb-{i}" for i in range(2, 6)]
    assert all(row["prompt"] == [{"role": "user", "content": "one\ntwo"}] for row in made.rows)


def test_a_template_without_system_role() -> None:
    edits = [make_edit(i, values=[Value(preference="Be kind")]) for i in range(8)]
    made = build(edits, system_role=False)
    assert {message["role"] for row in made.rows for message in row["prompt"]} == {"user"}
    assert "Be kind" in made.rows[0]["prompt"][0]["content"]


def labelled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if "label" in row]


def test_a_thumb_gives_rows_of_one_answer_and_its_label_beside_those_of_edits() -> None:
    edits = [make_edit(i) for i in range(10, 18)]
    thumbs = [
        make_thumb(0, up=True, answer="right", values=[Value(preference="Be kind")], preferences=["No emojis."]),
        make_thumb(1, up=False, answer="wrong"),
    ]
    made, without = build(edits, thumbs), build(edits)
    assert made.thumbs == ["thumb-0", "thumb-1"]
    assert made.learned_from == without.learned_from
    assert made.learned_through == without.learned_through
    assert made.held_out == without.held_out
    edited = [row for row in made.rows if "label" not in row]
    assert sorted(map(str, edited)) == sorted(map(str, without.rows))
    assert {row.keys() == {"prompt", "completion", "label"} for row in labelled(made.rows)} == {True}
    found = [(row["prompt"], row["completion"][0]["content"], row["label"]) for row in labelled(made.rows)]
    request, values = thumbs[0].turn.request, thumbs[0].turn.applied_values
    expected = [
        (compose(request, values), "right", True),
        (compose(request, values, ["No emojis."]), "right", True),
        (compose(thumbs[1].turn.request), "wrong", False),
    ]
    assert sorted(map(str, found)) == sorted(map(str, expected))


def test_what_is_held_out_no_thumb_tells() -> None:
    edits = [make_edit(i) for i in range(8)]  # 4 to 7 are held out
    before, as_new, after = (make_thumb(20 + i, created_at=at) for i, at in enumerate((3.5, 4.0, 9.0)))
    of_held_out, of_learned = make_thumb(5, created_at=0.5), make_thumb(2, created_at=2.5)
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
    seen = make_thumb(30, created_at=3.0, request=picture)
    made = build(edits, [of_held_out, of_learned, seen, before, as_new, after])
    assert made.thumbs == [of_learned.feedback_id, before.feedback_id]
    assert len(labelled(made.rows)) == 2


def test_the_newest_thumbs_count_and_no_number_of_them_is_an_edit() -> None:
    thumbs = [make_thumb(1000 + i, created_at=i / 1000) for i in range(MAX_THUMBS + 3)]
    made = build([make_edit(i) for i in range(10, 18)], thumbs)
    assert made.thumbs == [thumb.feedback_id for thumb in thumbs[3:]]
    with pytest.raises(Invalid, match=f"{MIN_EDITS - 1} edits are too few"):
        build([make_edit(i) for i in range(MIN_EDITS - 1)], [make_thumb(1000 + i, up=False) for i in range(20)])


def test_a_thumb_for_trl_has_the_prompt_that_was_answered() -> None:
    thumb = make_thumb(0, up=False, answer="wrong", preferences=["No emojis."])
    assert unpaired_row(thumb) == {
        "prompt": thumb.turn.prompt,
        "completion": [{"role": "assistant", "content": "wrong"}],
        "label": False,
    }
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
    assert unpaired_row(make_thumb(1, request=picture)) is None
