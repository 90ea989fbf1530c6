"""The gate's verdict as a sentence."""

from collections.abc import Mapping

from adapters.evaluation.gate_report import ALONE, INCUMBENT, Candidate, Compared, Figures
from adapters.evaluation.instruction_following import Judged


def refusal(edits: int, arm: str, figures: Candidate) -> str:
    """Why the best candidate, of arm ``arm``, is refused."""
    low, high = figures.interval
    if (figures.better or figures.as_good_with_fewer_tokens) and not figures.keeps_values:
        checked = figures.values_check
        return (
            f"refused: on the {checked.edits} held-out edits with stated values {arm} costs "
            f"{checked.difference:.2f} more than {INCUMBENT}."
        )
    more = figures.difference
    said = (
        f"refused: on {edits} held-out edits {arm} costs {abs(more):.2f} {'more' if more >= 0 else 'less'} "
        f"than {INCUMBENT}, interval [{low:.2f}, {high:.2f}], at {figures.token_share:.0%} of its prompt tokens"
        f"; {_likelihood(figures)}"
    )
    if figures.as_good_with_fewer_tokens and not figures.less_likely:
        said += f"; so few edits do not rule out faults that cost {figures.unseen:.3f} on average"
    return f"{said}."


def _likelihood(figures: Compared) -> str:
    """What the texts' likelihood says, as a clause."""
    (low, high), (least, most) = figures.nll_interval, figures.lead_interval
    less = figures.nll_difference > 0
    span = f"[{low:.2f}, {high:.2f}]" if less else f"[{0 - high:.2f}, {0 - low:.2f}]"
    which = "less likely" if less else "likelier"
    return (
        f"the user's texts are {which} to it by {span} nats a token, and their lead over the drafts changes by "
        f"[{least:.2f}, {most:.2f}]"
    )


def admission(edits: int, before: Figures, arm: str, found: Mapping[str, Candidate]) -> str:
    """Why a candidate is admitted as ``arm``; ``before`` are the figures of what serves."""
    figures = found[arm]
    low, high = figures.interval
    proof = ""
    if figures.until_proven:
        share = found[ALONE].token_share
        proof = (
            f" By itself it may do as well at {share:.0%} of them, but faults that so few edits do not show could cost "
            f"{figures.unseen:.3f} on average."
        )
    likely = "" if figures.costs_less or not figures.likelier else " That decides: costs alone do not."
    return (
        f"admitted as {arm}: on {edits} held-out edits it costs {figures.cost:.3f} where {INCUMBENT} "
        f"costs {before.cost:.3f} (difference [{low:.3f}, {high:.3f}]), at {figures.token_share:.0%} of its "
        f"prompt tokens; {_likelihood(figures)}.{likely}{proof}"
    )


def disobedience(kind: str, row: Judged, arm: str) -> str:
    """Why an admission is taken back: it failed a kind of the regression set."""
    counted = f" ({row.obeyed} of the {row.obeyed_by_base} that the base model obeys)" if row.obeyed is not None else ""
    return (
        f"refused: its costs would do, but {arm} obeys {kind} clearly less than the base model does{counted}: "
        f"right texts are {row.lift:.2f} nats a token likelier under their own instruction than under another, "
        f"to the base model {row.lift_of_base:.2f}."
    )
