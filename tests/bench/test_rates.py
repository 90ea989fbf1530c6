from bench import rates, rates_report
from lab import report


def test_what_is_likelier_because_everything_is_has_no_lead() -> None:
    base = [[-2.0, -1.5], [-2.5, -2.0], [-2.2, -1.9], [-2.1, -1.8]]
    surer = [[text + 0.5, draft + 0.5] for text, draft in base]
    taught = [[text + 0.5, draft] for text, draft in base]
    assert (rates.compared(surer, base)["likelier"], rates.compared(surer, base)["lead"]) == (0.5, 0.0)
    assert rates.compared(taught, base)["lead_interval"] == [0.5, 0.5]


def test_the_table_has_a_row_for_each_way_and_says_what_it_cost() -> None:
    def trial(user: int, rate: float, lead: float) -> dict[str, object]:
        gains = {"likelier": 0.2, "likelier_interval": [0.1, 0.3], "lead": lead, "lead_interval": [0, 1]}
        return {
            "user": user, "edits": 24, "rate": rate, "epochs": 4.0, "rank": 8, "steps": 48, "tokens": 9000,
            "seconds": 70.0, "peak_gib": 2.1, "users": 4, **gains,
        }  # fmt: skip

    trials = [trial(0, 1e-3, 0.1), trial(1, 1e-3, 0.3), trial(0, 2e-4, 0.0), trial(1, 2e-4, 0.1)]
    told = {"trials": trials, "model": "m", "commit": "abc", "tested": 12}
    assert [row[1] for row in rates_report.rows(told)] == ["0.0002", "0.001"]
    text = report.markdown(rates_report.parts(told))
    assert "+0.200 (+0.100, +0.300)" in text
    assert text.endswith("4 adapters of rank 8 took 70 s together, and 2.1 GiB at most.")
