"""Style attributes of the synthetic world and the phrasings that ask for each of their values.

Every attribute has an unnamed default that no phrasing asks for, so a style that is asked for always shows.
The last ``HELD_OUT`` phrasings of a value are never trained on; the first is the one the model answers with.
"""

import random
from collections.abc import Mapping

HELD_OUT = 2
DEFAULT = "default"
Style = Mapping[str, str]
"""Attribute name to value name; an attribute that is left out, or is ``default``, is not asked for."""

PHRASINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "format": {
        "bullets": (
            "Use bullet points.", "Put the facts in bullet points.", "Write bullets.", "Give me a bulleted text.",
            "Set every fact as a bullet.", "Bullet points, one for each fact.", "I like facts as bullets.", "Show the facts with bullet marks.",
            "Present the facts in bullets.", "Always write bullet points.", "Make the facts bullet points.", "Please give the facts as bullets.",
        ),
        "numbered": (
            "Number the facts.", "Use numbered facts.", "Give each fact a number.", "Put a number before each fact.",
            "Write numbered items.", "Facts should be numbered.", "I like numbered facts.", "Number every fact in order.",
            "Make the items numbered.", "Show the facts with numbers.", "Please number every fact.", "Always write numbered facts.",
        ),
        "paragraph": (
            "Write one paragraph.", "Use a single paragraph.", "Keep everything in one paragraph.", "Put the facts in flowing prose.",
            "Write in plain prose.", "Make it one block of prose.", "A single paragraph, please.", "I like flowing prose.",
            "The facts belong in one paragraph.", "Prose in a single paragraph.", "Please write a single paragraph.", "Put everything in flowing prose.",
        ),
    },
    "length": {
        "short": (
            "Keep it short.", "Be brief.", "Write a short text.", "Give only the two main facts.",
            "Make it brief.", "Be concise.", "A short answer is best.", "Only two facts, nothing more.",
            "I like it short.", "Stay brief and concise.", "Please be concise.", "Write a brief text.",
        ),
        "long": (
            "Add a recap at the end.", "Repeat the main point in a recap.", "Make it detailed, with a recap.", "Write at length and recap.",
            "Give a longer text with a recap.", "Recap the main point.", "Close the facts with a recap.", "I like a recap after the facts.",
            "End the facts with a detailed recap.", "A longer text with a recap is best.", "Please recap the main point.", "Make it longer and add a recap.",
        ),
    },
    "tone": {
        "formal": (
            "Write in a formal tone.", "Be formal.", "Use formal language.", "Sound formal and official.",
            "Keep the tone official.", "A formal register, please.", "I like a formal tone.", "Make it sound official.",
            "Formal language is best.", "Stay formal.", "Please use a formal tone.", "Always sound official and formal.",
        ),
        "casual": (
            "Write in a casual tone.", "Be casual.", "Use casual language.", "Sound relaxed and casual.",
            "Keep the tone relaxed.", "A casual register, please.", "I like a casual tone.", "Make it sound relaxed.",
            "Casual language is best.", "Stay casual.", "Please use a casual tone.", "Always sound relaxed and casual.",
        ),
        "warm": (
            "Write in a warm tone.", "Be warm.", "Use warm language.", "Sound warm and kind.",
            "Keep the tone kind.", "A warm register, please.", "I like a warm tone.", "Make it sound kind.",
            "Warm language is best.", "Stay warm.", "Please use a warm tone.", "Always sound kind and warm.",
        ),
    },
    "emoji": {
        "start": (
            "Start with a star emoji.", "Put a star emoji first.", "Begin with a star emoji.", "Open with a star emoji.",
            "The text starts with a star emoji.", "A star emoji at the start.", "I like a star emoji at the beginning.", "Place a star emoji before the text.",
            "Add a star emoji at the start.", "Lead with a star emoji.", "Please begin with a star emoji.", "Use a star emoji at the beginning.",
        ),
        "end": (
            "Finish with a smiley emoji.", "Put a smiley emoji last.", "End with a smiley.", "Close with a smiley emoji.",
            "The text ends with a smiley.", "A smiley at the end.", "I like a smiley at the end.", "Place a smiley emoji after the text.",
            "Add a smiley emoji at the end.", "A smiley emoji comes last.", "Please end with a smiley emoji.", "Use a smiley as the last thing.",
        ),
        "each": (
            "Put a check mark emoji on each fact.", "Mark every fact with a check mark.", "Use a check mark emoji for each fact.", "Give each fact a check mark.",
            "Every fact gets a check mark emoji.", "A check mark emoji before each fact.", "I like check marks on the facts.", "Tick each fact with a check mark.",
            "Place check marks before the facts.", "Check mark emojis on all facts.", "Please mark each fact with a check mark.", "Add a check mark emoji to every fact.",
        ),
        "none": (
            "Do not use emojis.", "No emojis.", "Leave out emojis.", "Avoid every emoji.",
            "Write without emojis.", "Skip the emojis.", "I do not like emojis.", "There should be no emoji.",
            "Never use an emoji.", "Remove all emojis.", "Please avoid emojis.", "Use no emojis at all.",
        ),
    },
    "greeting": {
        "dear": (
            "Greet with Dear.", "Begin the email with Dear.", "Open with Dear and the name.", "Write Dear before the name.",
            "Use Dear as the greeting.", "The greeting is Dear.", "I like the greeting Dear.", "Say Dear to the reader.",
            "Dear should be the greeting.", "Address the reader with Dear.", "Please greet with Dear and the name.", "Use the greeting Dear.",
        ),
        "hey": (
            "Greet with Hey.", "Begin the email with Hey.", "Open with Hey and the name.", "Write Hey before the name.",
            "Use Hey as the greeting.", "The greeting is Hey.", "I like the greeting Hey.", "Say Hey to the reader.",
            "Hey should be the greeting.", "Address the reader with Hey.", "Please greet with Hey and the name.", "Use the greeting Hey.",
        ),
        "morning": (
            "Greet with Good morning.", "Begin the email with Good morning.", "Open with Good morning and the name.", "Write Good morning before the name.",
            "Use Good morning as the greeting.", "The greeting is Good morning.", "I like the greeting Good morning.", "Say Good morning to the reader.",
            "Good morning should be the greeting.", "Wish the reader a Good morning.", "Please greet with Good morning and the name.", "Use the greeting Good morning.",
        ),
        "none": (
            "Leave out the greeting.", "No greeting.", "Skip the greeting.", "Write without a greeting.",
            "Do not greet.", "There should be no greeting.", "I do not want a greeting.", "Drop the greeting.",
            "Never add a greeting.", "Omit the greeting.", "Please skip the greeting.", "Write no greeting at all.",
        ),
    },
    "signoff": {
        "wishes": (
            "Sign off with Best wishes.", "Close with Best wishes.", "Use Best wishes as the sign-off.", "The sign-off is Best wishes.",
            "Finish the email with Best wishes.", "I like Best wishes as the sign-off.", "Send Best wishes at the end.", "Write Best wishes as the last line.",
            "Sign with Best wishes.", "Best wishes should be the sign-off.", "Please sign off with Best wishes.", "Close the email with Best wishes.",
        ),
        "cheers": (
            "Sign off with Cheers.", "Close with Cheers.", "Use Cheers as the sign-off.", "The sign-off is Cheers.",
            "Finish the email with Cheers.", "I like Cheers as the sign-off.", "Say Cheers at the end.", "Write Cheers as the last line.",
            "Sign with Cheers.", "Cheers should be the sign-off.", "Please sign off with Cheers.", "Close the email with Cheers.",
        ),
        "thanks": (
            "Sign off with Many thanks.", "Close with Many thanks.", "Use Many thanks as the sign-off.", "The sign-off is Many thanks.",
            "Finish the email with Many thanks.", "I like Many thanks as the sign-off.", "Say Many thanks at the end.", "Write Many thanks as the last line.",
            "Sign with Many thanks.", "Many thanks should be the sign-off.", "Please sign off with Many thanks.", "Close the email with Many thanks.",
        ),
        "none": (
            "Leave out the sign-off.", "No sign-off.", "Skip the sign-off.", "Write without a sign-off.",
            "Do not sign off.", "There should be no sign-off.", "I do not want a sign-off.", "Drop the sign-off.",
            "Never add a sign-off.", "Omit the sign-off.", "Please skip the sign-off.", "Write no sign-off at all.",
        ),
    },
    "heading": {
        "question": (
            "Use a question as the heading.", "Write the heading as a question.", "Head the summary with a question.", "The heading asks a question.",
            "Make the heading a question.", "A question should be the heading.", "I like a heading that asks a question.", "Turn the heading into a question.",
            "Let the heading be a question.", "The heading is a question.", "Please make the heading a question.", "Write a question as the heading.",
        ),
        "title": (
            "Use the topic as the heading.", "Write a heading that names the topic.", "Head the summary with the topic.", "The heading names the topic.",
            "Make the topic the heading.", "The topic should be the heading.", "I like the topic as the heading.", "Put the topic in the heading.",
            "Let the heading be the topic.", "The heading is the topic.", "Please use the topic as the heading.", "Name the topic in the heading.",
        ),
        "none": (
            "Leave out the heading.", "No heading.", "Skip the heading.", "Write without a heading.",
            "Do not add a heading.", "There should be no heading.", "I do not want a heading.", "Drop the heading.",
            "Never add a heading.", "Omit the heading.", "Please skip the heading.", "Write no heading at all.",
        ),
    },
    "ending": {
        "source": (
            "End with the source.", "Name the source at the end.", "Close with the source.", "Give the source as the last line.",
            "The last line names the source.", "Finish the summary with the source.", "I want the source at the end.", "Put the source last.",
            "State the source at the end.", "The source comes last.", "Please end with the source.", "Name the source as the last line.",
        ),
        "takeaway": (
            "End with a takeaway.", "Give a takeaway at the end.", "Close with a takeaway.", "Write a takeaway as the last line.",
            "The last line is a takeaway.", "Finish the summary with a takeaway.", "I want a takeaway at the end.", "Put a takeaway last.",
            "State a takeaway at the end.", "A takeaway comes last.", "Please end with a takeaway.", "Give a takeaway as the last line.",
        ),
        "none": (
            "Leave out the end line.", "No end line.", "Skip the end line.", "Write without an end line.",
            "Do not add an end line.", "There should be no end line.", "I do not want an end line.", "Drop the end line.",
            "Never add an end line.", "Omit the end line.", "Please skip the end line.", "Write no end line at all.",
        ),
    },
    "first": {
        "when": (
            "Give the date first.", "Put the date first.", "The date comes first.", "Name the date before all other facts.",
            "Let the date lead the facts.", "I want the date first.", "State the date before the rest.", "The first fact is the date.",
            "Move the date to the front.", "Always lead with the date.", "Please put the date first.", "The date should come before the rest.",
        ),
        "where": (
            "Give the place first.", "Put the place first.", "The place comes first.", "Name the place before all other facts.",
            "Let the place lead the facts.", "I want the place first.", "State the place before the rest.", "The first fact is the place.",
            "Move the place to the front.", "Always lead with the place.", "Please put the place first.", "The place should come before the rest.",
        ),
        "action": (
            "Give the request first.", "Put the request first.", "The request comes first.", "Name the request before all other facts.",
            "Let the request lead the facts.", "I want the request first.", "State the request before the rest.", "The first fact is the request.",
            "Move the request to the front.", "Always lead with the request.", "Please put the request first.", "The request should come before the rest.",
        ),
    },
    "question": {
        "confirm": (
            "Close by asking for confirmation.", "Ask for confirmation at the end.", "Ask the reader to confirm.", "Request confirmation in a closing question.",
            "Add a question that asks for confirmation.", "The closing question asks to confirm.", "I want to ask for confirmation.", "Let the last question ask for confirmation.",
            "End by asking the reader to confirm.", "Always ask for confirmation.", "Please ask the reader to confirm.", "Add a closing question for confirmation.",
        ),
        "doubts": (
            "Close by asking about doubts.", "Ask about doubts at the end.", "Ask whether there are doubts.", "Bring up doubts in a closing question.",
            "Add a question about doubts.", "The closing question is about doubts.", "I want to ask about doubts.", "Let the last question ask about doubts.",
            "End by asking whether there are doubts.", "Always ask about doubts.", "Please ask whether there are doubts.", "Add a closing question about doubts.",
        ),
        "more": (
            "Close by offering more details.", "Offer more details at the end.", "Offer to send more details.", "Offer more details in a closing question.",
            "Add a question that offers more details.", "The closing question offers more details.", "I want to offer more details.", "Let the last question offer more details.",
            "End by offering to send more details.", "Always offer more details.", "Please offer to send more details.", "Add a closing question that offers details.",
        ),
        "none": (
            "Do not end with a question.", "No closing question.", "Leave out the closing question.", "Ask no question at the end.",
            "Write without a closing question.", "Skip the closing question.", "I do not want a closing question.", "There should be no closing question.",
            "Never ask a closing question.", "Drop the closing question.", "Please skip the closing question.", "Write no closing question at all.",
        ),
    },
}  # fmt: skip

TASK_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "email": ("emoji", "greeting", "tone", "format", "first", "length", "question", "signoff"),
    "summary": ("emoji", "heading", "tone", "format", "first", "length", "question", "ending"),
}
"""The attributes that apply to a task, in the order in which they show in a text."""

MEANING: dict[str, tuple[str, str]] = {
    phrase: (attribute, value)
    for attribute, values in PHRASINGS.items()
    for value, phrases in values.items()
    for phrase in phrases
}


def canonical_phrase(attribute: str, value: str) -> str:
    """The phrasing that inference answers with."""
    return PHRASINGS[attribute][value][0]


def trained_phrase(attribute: str, value: str, rng: random.Random) -> str:
    """A random phrasing of the training split, the canonical one more often than the rest."""
    phrases = PHRASINGS[attribute][value][:-HELD_OUT]
    return phrases[0] if rng.random() < 0.25 else rng.choice(phrases)


def held_out_phrase(attribute: str, value: str, rng: random.Random) -> str:
    """A random phrasing that training never saw."""
    return rng.choice(PHRASINGS[attribute][value][-HELD_OUT:])


def named(style: Style) -> dict[str, str]:
    """The style without its defaults."""
    return {attribute: value for attribute, value in style.items() if value != DEFAULT}


def random_style(task: str, rng: random.Random, asked: int | None = None) -> dict[str, str]:
    """A style that asks for ``asked`` random attributes of the task (all of them by default)."""
    attributes = TASK_ATTRIBUTES[task]
    chosen = set(rng.sample(attributes, len(attributes) if asked is None else asked))
    return {a: rng.choice(tuple(PHRASINGS[a])) for a in attributes if a in chosen}
