"""The language of a text, by py3langid (a naive Bayes classifier over byte n-grams; Lui and Baldwin, ACL 2012)."""

from functools import lru_cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "sv", "ru", "tr", "ar", "hi", "zh", "ja", "ko")
SURE = 0.9
"""Two texts are of different languages only where each is as likely as this of its own."""


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(LANGUAGES))
    return identifier


def language(text: str) -> str:
    """The likeliest of ``LANGUAGES``."""
    return str(_identifier().classify(text[:2000])[0])


def differ(a: str, b: str) -> bool:
    """Whether two texts are surely of different languages."""
    (one, sure), (other, as_sure) = (_identifier().classify(text[:2000]) for text in (a, b))
    return bool(one != other and min(sure, as_sure) >= SURE)
