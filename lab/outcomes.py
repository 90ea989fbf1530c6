"""Outcomes of a known cause and a known confounder: what is learned naively, and by `preference/feedback/outcomes.py`.

Of each answer the cause is that it was written as a preference asks (``EFFECT`` of the outcome). It also makes answers
shorter, and longer ones do better whatever they say (``OF_LENGTH`` for each e-fold), mornings better than nights. So a
naive reading finds that the preference does harm.
"""

import json
import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from preference.feedback.outcomes import Outcome, adjusted, confounders, effects

EFFECT, OF_LENGTH, OF_HOUR, NOISE = 0.5, 1.0, 0.3, 0.5
SHORTER = 0.6
"""What the cause takes off the logarithm of the length, on average."""


def simulate(seed: int, count: int = 600, control: float = 0.2) -> dict[str, Any]:
    """One tenant's outcomes: the cause's effect as it is, as a naive reading has it, and as it is recovered."""
    rng = np.random.default_rng(seed)
    caused = rng.random(count) >= control
    lengths = np.exp(rng.normal(6.0, 0.5, count) - SHORTER * caused)
    hours = rng.uniform(0, 24, count)
    values = (
        EFFECT * caused + OF_LENGTH * np.log1p(lengths) + OF_HOUR * np.sin(2 * np.pi * hours / 24)
        + rng.normal(0, NOISE, count)
    )  # fmt: skip
    known = [
        Outcome(float(value), int(length), float(hour * 3600), "model", 0, bool(cause))
        for value, length, hour, cause in zip(values, lengths, hours, caused, strict=True)
    ]
    causes = caused.astype(float)[:, None]
    beside = confounders(known)
    (recovered,) = effects(values, causes, beside).tolist()
    scaled = adjusted(values, beside, causes)
    naive = float(values[caused].mean() - values[~caused].mean())
    liked_naively, liked = (lengths[score > np.median(score)].mean() for score in (values, scaled))
    return {
        "seed": seed,
        "effect": EFFECT,
        "naive": round(naive, 3),
        "recovered": round(recovered, 3),
        "share": round(recovered / EFFECT, 3),
        "adjusted_difference": round(float(scaled[caused].mean() - scaled[~caused].mean()), 3),
        # What a trainer that takes the better half as right would learn of length: 1 is nothing.
        "length_of_the_better_half": {
            "naive": round(float(liked_naively / lengths.mean()), 3),
            "adjusted": round(float(liked / lengths.mean()), 3),
        },
    }


def outcomes(
    seeds: Annotated[int, typer.Option(min=1, help="Tenants.")] = 5,
    count: Annotated[int, typer.Option(min=20, help="Outcomes of each.")] = 600,
    control: Annotated[float, typer.Option(min=0.01, max=0.99, help="Share that is left unpersonalised.")] = 0.2,
    report: Annotated[Path | None, typer.Option("--json", help="Write the figures here too.")] = None,
) -> None:
    """What outcomes teach whose cause and confounder are known: naively, and with confounders taken off."""
    found = [simulate(seed, count, control) for seed in range(1, seeds + 1)]
    least = min(one["share"] for one in found)
    summary = {"tenants": found, "least_share": least, "met": least >= 0.8 and not math.isnan(least)}
    text = json.dumps(summary, indent=2)
    if report is not None:
        report.write_text(text + "\n")
    typer.echo(text)
