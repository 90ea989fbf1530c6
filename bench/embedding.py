"""`make bench-embedding`: what a new text's embedding costs on one core, beside the original encoder in torch.

The texts are the requests of `lab/recall_pairs.jsonl`. Each is embedded by one arm after the other, once, after some
that warm up. Processor time is shown beside the wall's: where others have the core, it is the fairer figure.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer

from bench import machine
from lab import report
from lab.recall_quality import load
from lab.report import Report, Table
from preference.ports import Vectors
from preference.recall import embedder
from preference.recall.embedder import SentenceEmbedder
from preference.recall.kind import KindEmbedder

GOAL_MS = 6.0
WARM = 10
DOCS = report.DOCS / "recall.md"
MARK = "bench-embedding"
Embed = Callable[[str], Vectors]


def arms() -> dict[str, Embed]:
    """What embeds one text, by name; the first one is what a request takes."""
    bundled, original = SentenceEmbedder(), SentenceEmbedder(str(embedder._bundled_path()))
    kinds = KindEmbedder(bundled)
    return {
        "kind of task": lambda text: kinds.embed([text])[0],
        "eight bits, all layers": lambda text: bundled.embed([text])[0],
        "torch, all layers": lambda text: original.embed([text])[0],
    }


def measure(texts: list[str]) -> dict[str, Any]:
    """Milliseconds of each arm, and how near eight bits come to the original."""
    found = arms()
    wall: dict[str, list[float]] = {name: [] for name in found}
    cpu: dict[str, list[float]] = {name: [] for name in found}
    vectors: dict[str, list[Vectors]] = {name: [] for name in found}
    warm = texts[:WARM]
    for number, text in enumerate(warm + texts):
        for name, embed in found.items():
            started, used = time.perf_counter(), time.process_time()
            vector = embed(text)
            taken, used = time.perf_counter() - started, time.process_time() - used
            if number >= len(warm):
                wall[name].append(taken * 1000)
                cpu[name].append(used * 1000)
                vectors[name].append(vector)
    ours, original = (np.stack(vectors[name]) for name in ("eight bits, all layers", "torch, all layers"))
    cosines = (ours * original).sum(axis=1)
    return {
        "texts": len(texts),
        "arms": {
            name: {
                "p50_ms": round(median(wall[name]), 2),
                "min_ms": round(min(wall[name]), 2),
                "cpu_p50_ms": round(median(cpu[name]), 2),
            }
            for name in found
        },
        "cosine_min": round(float(cosines.min()), 4),
        "cosine_p50": round(float(np.median(cosines)), 4),
        "goal_ms": GOAL_MS,
        "goal_met": median(wall["kind of task"]) <= GOAL_MS,
    }


def parts(result: dict[str, Any]) -> Report:
    """The report of a run."""
    where = result["machine"]
    rows = [[name, *(str(arm[figure]) for figure in ("p50_ms", "min_ms", "cpu_p50_ms"))]
            for name, arm in result["arms"].items()]  # fmt: skip
    return [
        f"{result['date']}, commit {result['commit']}, one core of {where['processor']} "
        f"(load {where['load_average_1m']}), {result['texts']} requests; cosine of eight bits to the original: "
        f"{result['cosine_min']} at least, {result['cosine_p50']} in the median.",
        Table(["", "p50, ms", "min, ms", "CPU p50, ms"], rows),
    ]


def embedding(
    out: Annotated[Path, typer.Option("--json", help="File for all figures.")] = Path("out/bench-embedding.json"),
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Put the table into docs/recall.md.")] = False,
) -> None:
    """Measure the embedding of one new text."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    about = machine.about()
    situations = [situation for person in load() for situation in person.situations]
    result = measure([text for s in situations for text in (s.context, s.same)]) | about
    report.conclude(result, parts(result), [out], DOCS if write_docs else None, MARK)


if __name__ == "__main__":
    typer.run(embedding)
