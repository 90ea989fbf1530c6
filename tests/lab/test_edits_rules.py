"""Rules give 1 where a wish is met, less where it is not, and 0 where nothing was written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.edits import rules

CODE = "```python\ndef f({}):\n{}    return 1\n```"


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("has_bullets", "Todo:\n- a\n- b", "Todo: a, b"),
        ("has_bullets", "• 一\n• 二", "一，二"),
        ("numbered", "1. a\n2. b", "First a, then b"),
        ("numbered", "Steps:\n1) a\n2) b", "3. a\n4. b"),
        ("has_heading", "Done\n- a", "I am done with a."),
        ("has_heading", "## Done\nIt works.", "It works."),
        ("has_heading", "**Done**\nIt works.", "- a\n- b"),
        ("table", "| a | b |\n|---|---|\n| 1 | 2 |", "a | b"),
        ("table", "a | b\n--- | ---\n1 | 2", "| a | b |\n|---|---|"),
        ("code_fence", "Run:\n```sh\nmake\n```", "Run `make`."),
        ("sorted_items", "- apple\n- Pear\n- plum", "- plum\n- pear\n- apple"),
        ("links_at_end", "See [1].\n\n[1] https://a.b", "See https://a.b for more on this."),
        ("csv_semicolons", "a;b\n1;2", "a,b\n1,2"),
        ("paragraphs:2", "One.\n\nTwo.", "One. Two."),
        ("max_words:3", "one two three", "one two three four"),
        ("starts_with:Hi", "Subject: x\n\nHi Tom,", "Dear Tom,"),
        ("ends_with:Mara", "Bye\nCheers, Mara", "Mara here.\nBye"),
        ("starts_with_number", "+25%: up", "It went up by 25%"),
        ("no_question_at_end", "Boil it. Is it soft? Then stop.", "Boil it. Anything else?"),
        ("no_question_at_end", "Boil it.", "Boil it. Let me know if you need more."),
        ("no_question_at_end", "煮六分钟。", "煮六分钟。您还有问题吗？"),
        ("subject_has_deadline", "Subject: texts by Friday\nHi", "Subject: texts\nby Friday"),
        ("contains:set -e", "#!/bin/sh\nset -e", "#!/bin/sh"),
        ("lacks:panic(", "return err", "panic(err)"),
        ("has_emoji", "Yes 🎉", "Yes © 1 # *"),
        ("no_emoji", "Yes → no", "Yes ☕"),
        ("british", "The colour of the centre", "The color of the center"),
        ("oxford_comma", "Bring a, b, and c.", "Bring a, b and c."),
        ("lowercase", "hey, late again. see you", "Hey, late again. See you"),
        ("sentence_case", "1. Mending a wooden window\n2. How I did it", "Mending Your Wooden Window"),
        ("time_24h", "Open 09:00–17:00", "Open 9 am to 5:30 pm"),
        ("iso_dates", "Since 2026-03-04", "Since March 4th, 2026"),
        ("iso_dates", "Since 2026-03-04", "Since 4/3/2026"),
        ("currency_after:EUR", "It costs 900 EUR", "It costs €900"),
        ("single_quotes", "He said 'you'll hear it' twice", 'He said "you\'ll hear it" twice'),
        ("we_not_i", "We sent our bill", "I sent my bill"),
        ("formal_german", "Können Sie Ihren Helm holen?", "Kannst du deinen Helm holen?"),
        ("formal_french", "Pourriez-vous venir avec votre vélo ?", "Tu peux venir avec ton vélo ?"),
        ("inclusive_german", "Liebe Kolleg:innen", "Liebe Kollegen"),
        ("python_type_hints", CODE.format("a: int", "").replace("):", ") -> int:"), CODE.format("a", "")),
        ("python_docstrings", CODE.format("a", '    """One."""\n'), CODE.format("a", "")),
        ("python_fstrings", 'print(f"{a}")', 'print("%s" % a, "{}".format(a))'),
        ("no_comments", CODE.format("a", "    b = a // 2\n"), CODE.format("a", "    b = 2  # two\n")),
        ("no_comments", "return x;", "return x; // done"),
        ("js_const", "const a = 1;", "let a = 1; var b;"),
        ("js_arrow", "const f = (a) => a;", "function f(a) { return a }"),
        ("js_async", "const a = await get();", "get().then((a) => a);"),
        ("sql_upper", "SELECT a FROM t WHERE b = 'not this'", "select a from t"),
        ("sql_lower", "select a from t", "SELECT a FROM t"),
        ("sql_clause_lines", "SELECT a\nFROM t\nLEFT JOIN u ON u.a = t.a\nWHERE b", "SELECT a FROM t WHERE b"),
        ("conventional_commit", "fix(cart): round prices", "Fix the cart's prices"),
        ("no_exclamation", "It works. `![image](a)` and a != b", "It works! Look!"),
        ("no_hedges", "It is safe.", "Perhaps it might be safe."),
        ("no_contractions", "It is Ann's and we do not mind", "It's Ann's and we don't mind"),
        ("no_dashes", "A well-known thing.", "A thing — well known."),
        ("no_thanks", "Send it.", "Thank you in advance."),
        ("no_apology", "It comes on Friday.", "Sorry, it comes on Friday."),
        ("no_bold", "2 * 3 * 4", "This is **bold**."),
        ("no_hashtags", "# Heading\nIssue # 4 &#39;", "New! #pottery"),
    ],
)
def test_a_rule_tells_good_from_bad(name: str, good: str, bad: str) -> None:
    rule = rules.of(name)
    assert rule(good) == 1
    assert 0 <= rule(bad) < 1


ARGUMENTS = {"max_words": ":3", "paragraphs": ":2", "currency_after": ":EUR"} | dict.fromkeys(
    ("starts_with", "ends_with", "contains", "lacks"), ":x"
)
ALL = [rules.of(name + ARGUMENTS.get(name, "")) for name in rules.names()]


def test_nothing_written_satisfies_nothing() -> None:
    assert [rule(" \n") for rule in ALL] == [0] * len(ALL)


PIECES = ["```", "\n", "- ", "1. ", "|---|", "'", '"', "**", "select ", "def f(a): ", "!", "?", "。", "5 pm", "€", " "]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=12).map("".join))
def test_whatever_a_model_writes_has_a_share(text: str) -> None:
    assert all(0 <= rule(text) <= 1 for rule in ALL)


def test_shares_lie_between() -> None:
    assert rules.of("no_exclamation")("One! Two. Three. Four.") == 0.75
    assert rules.of("max_words:2")("one two three four") == 0.5
    assert rules.of("british")("The colour of the center") == 0.5
    assert rules.of("sorted_items")("- a\n- c\n- b") == 0.5
    assert rules.of("python_type_hints")("def f(a: int, b): ...") == pytest.approx(1 / 3)
    assert rules.mean(rules.of("has_emoji"), ["a 🎉", "b"]) == 0.5


def test_what_is_no_python_has_no_type_hints() -> None:
    for text in ("def f(a: int", "It is a function.", "\0", "(" * 5000):
        assert rules.of("python_type_hints")(text) == 0


@pytest.mark.parametrize("name", ["", "pretty", "ends_with", "ends_with:", "max_words", "max_words:few", "table:x"])
def test_a_name_that_is_no_rule_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="there is no rule"):
        rules.of(name)
