"""Two servers of one database have one limit between them; a count that does not answer leaves each its own."""

import json
import subprocess
import sys
from itertools import accumulate
from pathlib import Path
from typing import Any

import sqlalchemy
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from preference import limits
from preference.database import Database
from tests.server.spender import USER

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = st.lists(st.lists(st.integers(1, 400), min_size=3, max_size=12), min_size=4, max_size=12)
LIMITS = st.fixed_dictionaries(
    {
        "requests_per_minute": st.sampled_from([0, 40, 100_000]),
        "tokens_per_minute": st.sampled_from([0, 3000, 10_000_000]),
        "tokens_per_day": st.integers(500, 8000),
        "in_flight": st.integers(1, 12),
    }
)


@settings(
    max_examples=6,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(servers=st.lists(CLIENTS, min_size=2, max_size=2), key=LIMITS, user=LIMITS)
def test_two_servers_never_overspend(
    database: Database, servers: list[Any], key: dict[str, int], user: dict[str, int]
) -> None:
    database.write_now(lambda c: c.execute(sqlalchemy.delete(limits.limits)))
    url = database.url.render_as_string(hide_password=False)
    plans = [
        {"url": url, "key": key, "user": user, "clients": clients, "seed": number}
        for number, clients in enumerate(servers)
    ]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.server.spender", json.dumps(plan)], cwd=ROOT, stdout=subprocess.PIPE
        )
        for plan in plans
    ]
    told = [json.loads(one.communicate(timeout=120)[0]) for one in running]
    assert [one.returncode for one in running] == [0, 0]
    had = [one for each in told for one in each["had"]]
    asked = sum(len(sizes) for clients in servers for sizes in clients)
    assert len(had) + sum(each["refused"] for each in told) == asked
    assert had
    spent = sum(tokens for *_, tokens in had)
    seconds = max(end for _, end, _ in had) - min(start for start, *_ in had)
    moments = sorted([(start, 1) for start, *_ in had] + [(end, -1) for _, end, _ in had])
    most = max(accumulate(step for _, step in moments))
    for limit, subject in ((key, limits.of_key("key")), (user, limits.of_user(USER))):
        assert spent <= limit["tokens_per_day"]
        assert most <= limit["in_flight"]
        for rate, taken in (("requests_per_minute", len(had)), ("tokens_per_minute", spent)):
            assert not limit[rate] or taken <= limit[rate] * (1 + (seconds + 1) / 60)
        assert database.read_now(limits.spent_today, "t", subject) == spent  # and nothing is held that was not taken
