"""`python -m bench.languages`: does a request find what was learned from one of its kind in another language?

Twelve kinds, a request of each in German, French and English, none of them in ``preference/recall/requests.jsonl``;
by the server's default embedder and cut-off. No vector of a request is stored.
"""

from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench import machine
from lab import report
from preference.ports import Vectors
from preference.recall.embedder import SentenceEmbedder
from preference.recall.kind import KindEmbedder

REQUESTS = {
    "German": (
        "Schreib meiner Vermieterin, dass die Heizung im Bad seit Sonntag nicht mehr warm wird.",
        "Sag meiner Chefin, dass ich am Freitag frei brauche.",
        "Fasse diesen Zeitungsartikel zusammen.",
        "Schreib eine Absage an einen Bewerber.",
        "Schreib eine Einladung zum Sommerfest am Samstag.",
        "Schreib eine Funktion in Python, die eine Liste sortiert.",
        "Erkläre mir, was Inflation ist.",
        "Ein Rezept für Linsensuppe, bitte.",
        "Schreib einen Tweet über unsere neue Ausstellung.",
        "Übersetze diesen Satz ins Englische.",
        "Schreib eine Commit-Nachricht für diese Änderung.",
        "Schreib eine Beschwerde an die Bahn wegen der Verspätung.",
    ),
    "French": (
        "Écris à mon propriétaire que la chaudière ne chauffe plus depuis dimanche.",
        "Dis à ma cheffe que je serai absent jeudi.",
        "Résume cet article de journal.",
        "Écris un refus à un candidat.",
        "Écris une invitation à la fête des voisins vendredi.",
        "Écris une fonction en Python qui additionne deux matrices.",
        "Explique-moi ce qu'est la photosynthèse.",
        "Une recette de gratin de courgettes, s'il te plaît.",
        "Écris un tweet sur notre nouveau menu.",
        "Traduis cette phrase en anglais.",
        "Écris un message de commit pour cette modification.",
        "Écris une réclamation à la compagnie aérienne pour le bagage perdu.",
    ),
    "English": (
        "Write to my landlord that the heating does not work.",
        "Tell my boss I need Friday off.",
        "Summarise this newspaper article.",
        "Write a rejection to an applicant.",
        "Write an invitation to the summer party.",
        "Write a Python function that reverses a string.",
        "Explain what gravity is.",
        "A recipe for tomato soup, please.",
        "Write a tweet about our new shop.",
        "Translate this sentence into Spanish.",
        "Write a commit message for this change.",
        "Write a complaint to the bus company about the delay.",
    ),
}


def found(kinds: KindEmbedder) -> list[dict[str, Any]]:
    """For each two languages: how many pairs of one kind, and of two, are alike; how many nearest ones are right."""
    vectors = {name: _units(kinds.embed(texts)[:, : kinds.kinds]) for name, texts in REQUESTS.items()}
    rows: list[dict[str, Any]] = []
    for one, other in combinations(vectors, 2):
        cosines = vectors[one] @ vectors[other].T
        alike, same = cosines >= kinds.ALIKE, np.eye(len(cosines), dtype=bool)
        nearest = int((cosines.argmax(axis=1) == np.arange(len(cosines))).sum())
        rows.append({
            "languages": f"{one}, {other}", "same": int(alike[same].sum()), "of_same": int(same.sum()),
            "other": int(alike[~same].sum()), "of_other": int((~same).sum()), "nearest_right": nearest,
        })  # fmt: skip
    return rows


def main(out: Annotated[Path, typer.Option("--json", help="File.")] = Path("out/bench-languages.json")) -> None:
    """Measure it."""
    rows = found(KindEmbedder(SentenceEmbedder()))
    for row in rows:
        same, other = "{same} of {of_same}".format(**row), "{other} of {of_other}".format(**row)
        typer.echo(f"{row['languages']}: {same} of one kind, {other} of two; {row['nearest_right']} nearest are right")
    report.write({"pairs": rows, **machine.about()}, out)


def _units(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


if __name__ == "__main__":
    typer.run(main)
