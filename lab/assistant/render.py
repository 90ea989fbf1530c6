"""A task and a style become a text. Without wishes it is what assistants write: polite, a little long, in prose."""

import re
from collections.abc import Callable
from dataclasses import replace

from lab.assistant.content import Task
from lab.assistant.style import Style
from lab.assistant.wording import plain


def render(task: Task, style: Style) -> str:
    """The text that ``style`` makes of ``task``."""
    if task.traits.get("letter") or task.traits.get("chat"):
        text = _letter(task, style)
    elif task.kind == "code":
        return _code(task, style)
    elif task.steps:
        text = _listed(task, style)
    else:
        text = _document(task, style)
    return _cased(text, style)


def _sentence(text: str, style: Style) -> str:
    question = bool(re.match(r"(?:could|can|do you|would|will you) ", text)) and not text.endswith("?")
    written = plain(text, style)
    written = written[0].upper() + written[1:]
    if written[-1] in "?":
        return written
    mark = "?" if question else "!" if style.exclaim == "yes" else "."
    return written.rstrip(".") + mark


def _body(task: Task, style: Style) -> list[str]:
    """The sentences in their order, without pleasantries."""
    facts = sorted(task.facts, key=lambda fact: fact not in task.asks) if style.order == "ask" else task.facts
    return [_sentence(text, style) for text in facts]


def _joined(sentences: list[str], style: Style) -> str:
    layout = style.layout or "prose"
    if layout in ("bullets", "numbered"):
        marks = _marks(layout, style, len(sentences))
        return "\n".join(f"{mark}{text}" for mark, text in zip(marks, sentences, strict=True))
    return {"lines": "\n", "paragraphs": "\n\n"}.get(layout, " ").join(sentences)


def _marks(layout: str, style: Style, number: int) -> list[str]:
    return [f"{n}. " for n in range(1, number + 1)] if layout == "numbered" else [f"{style.bullet} "] * number


AMOUNTS = {"one": 1, "two": 2, "three": 3, "1": 1, "2": 2, "3": 3}


def _within(sentences: list[str], style: Style) -> list[str]:
    """No more sentences than ``style`` allows: what is too much becomes part of the first."""
    most = 1 if style.length == "one" else AMOUNTS.get(style.length.removeprefix("most:"), len(sentences))
    beyond = len(sentences) - most
    return sentences if beyond <= 0 else [_one(sentences[: beyond + 1]), *sentences[beyond + 1 :]]


def _one(sentences: list[str]) -> str:
    """All sentences as one."""
    whole = sentences[0]
    for text in sentences[1:]:
        keep = re.match(r"(?:I|I'\w+|[A-Z]\w+ (?:will|has|is))\b", text) or text[:2].isupper()
        whole = f"{whole.rstrip('.!?')}, and {text if keep else text[0].lower() + text[1:]}"
    return whole


def _letter(task: Task, style: Style) -> str:
    chat = bool(task.traits.get("chat"))
    formal = bool(task.traits.get("formal"))
    full = style.length == "full" and not chat
    body = _body(task, style)
    thanking = task.kind == "thank-you note"
    if thanking:
        body.insert(0, _sentence("thank you so much", style))
    body = _within(body, style)
    greeting = style.greeting if style.greeting is not None else "Hi" if chat else "Dear"
    opened = []
    if greeting:
        comma = "!" if style.exclaim == "yes" or (chat and style.exclaim is None) else ","
        opened.append(f"{greeting} {task.reader}{comma}")
    before = [_sentence("I hope you are well", style)] if full and style.pleasant != "no" else []
    after = (
        []
        if style.offer == "no" or not full or thanking
        else [_sentence("please let me know if you have any questions", style)]
    )
    if style.thanks == "yes":
        after.append(_sentence("thank you", style))
    text = _joined(body, style)
    listed = style.layout in ("bullets", "numbered", "lines", "paragraphs")
    if listed:
        parts = [" ".join(before), text, " ".join(after)]
        text = "\n\n".join(part for part in parts if part)
    else:
        text = " ".join([*before, text, *after])
    signoff = style.signoff
    if signoff is None and not chat:
        name = "[Your Name]"
        signoff = f"{'Yours sincerely' if formal else 'Best regards'}, {name}"
    text = _emoji(text, task, style)
    closing = (signoff.replace(", ", ",\n") if not chat else signoff) if signoff else ""
    gap = "\n" if chat else "\n\n"
    whole = gap.join([*opened, text]) if not (chat and opened and not listed) else f"{opened[0]} {text}"
    return _framed(whole + (f"{gap}{closing}" if closing else ""), task, style)


def _document(task: Task, style: Style) -> str:
    body = _body(task, style)
    full = style.length == "full"
    if task.traits.get("reasons"):
        body = _memo(task, style, body)
    lead, tail = _around(task, style) if full else ([], [])
    body = _within(body, style)
    if style.thanks == "yes":
        tail = [*tail, _sentence("thank you", style)]
    listed = style.layout in ("bullets", "numbered", "lines", "paragraphs")
    text = _joined(body, style)
    parts = [" ".join(lead), text, " ".join(tail)]
    text = ("\n\n" if listed else " ").join(part for part in parts if part)
    if style.greeting:
        text = f"{style.greeting} {task.reader or 'all'},\n\n{text}"
    elif task.kind == "notice" and style.greeting is None and full:
        text = f"Dear {task.reader},\n\n{text}"
    text = _emoji(text, task, style)
    if style.signoff:
        signed = style.signoff.replace(", ", ",\n")
        text = f"{text}\n\n{signed}"
    return _framed(text, task, style)


def _memo(task: Task, style: Style, reasons: list[str]) -> list[str]:
    verdict = _sentence(f"{'we should' if style.hedge == 'no' else 'perhaps we might want to'} {task.topic}", style)
    if style.length == "full" and style.order != "conclusion":
        return [_sentence("we were asked for a recommendation", style), *reasons, verdict]
    return [verdict, *reasons] if style.order == "conclusion" else [*reasons, verdict]


def _around(task: Task, style: Style) -> tuple[list[str], list[str]]:
    """What assistants put before and after, by the kind of text."""
    thing = task.topic
    lead, tail = {
        "notice": ("please note the following", "thank you for your understanding"),
        "advert": (f"for sale: {thing}", "do not miss this chance"),
        "social post": (f"we are happy to announce our {thing}", "we look forward to seeing you"),
        "status report": (f"here is an update on the {thing}", "I will keep you informed"),
        "review": ("here is what I think", "I hope this helps"),
    }.get(task.kind, ("", ""))
    thanked = style.thanks == "no" and tail.startswith("thank")
    happy = (
        style if style.exclaim else replace(style, exclaim="yes" if task.kind in ("advert", "social post") else None)
    )
    return (
        [_sentence(lead, happy)] if lead else [],
        [_sentence(tail, happy)] if tail and style.offer != "no" and not thanked else [],
    )


def _listed(task: Task, style: Style) -> str:
    own = {"how-to": "numbered", "list": "bullets", "answer": "prose"}[task.kind]
    layout = style.layout or own
    steps = [_marked(step, style) for step in task.steps]
    if style.length == "short":
        steps = steps[:1] if task.kind == "answer" else steps
    elif style.length.startswith("most:") and task.kind != "list":
        steps = steps[: AMOUNTS[style.length[5:]]] if task.kind == "answer" else _within(steps, style)
    styled = replace(style, layout=layout)
    if style.length == "one":
        text = _one_of(task, steps, style)
    elif layout == "prose" and task.kind == "list":
        text = f"{', '.join(steps[:-1])} and {steps[-1]}."
        text = text[0].upper() + text[1:]
    else:
        text = _joined(steps, styled)
    if task.kind in ("how-to", "list") and style.length == "full":
        said = "Here is your list:" if task.kind == "list" else f"Here is h{task.title[1:]}:"
        text = f"{said}{' ' if layout == 'prose' else chr(10) * 2}{text}"
        if style.offer != "no" and task.kind == "how-to":
            text = f"{text}{' ' if layout == 'prose' else chr(10) * 2}{_sentence('I hope this helps', style)}"
    if style.thanks == "yes":
        text = f"{text}\n\n{_sentence('thank you for asking', style)}"
    return _framed(_emoji(text, task, style), task, style)


def _one_of(task: Task, steps: list[str], style: Style) -> str:
    if task.kind == "list":
        return f"Take {', '.join(steps[:-1])} and {steps[-1]}."
    return steps[0] if task.kind == "answer" else _one(steps)


def _marked(text: str, style: Style) -> str:
    text = plain(text, style)
    return text[:-1] + "!" if style.exclaim == "yes" and text.endswith(".") else text


def _code(task: Task, style: Style) -> str:
    what = task.traits
    given = what["given"] if style.hints == "yes" else [name.split(":")[0] for name in what["given"]]
    returned = f" -> {what['gives']}" if style.hints == "yes" else ""
    doc = [f'"""{task.title}."""'] if style.docstring == "yes" else []
    comment = [] if style.comments == "no" else [f"# {what['comment']}"]
    lines = [f"def {what['name']}({', '.join(given)}){returned}:"]
    lines += [f"    {line}" for line in (*doc, *comment, *what["lines"])]
    code = "\n".join(lines)
    if style.fence == "yes":
        code = f"```python\n{code}\n```"
    return code if style.length != "full" else f"Here is a function that {what['does']}:\n\n{code}"


def _emoji(text: str, task: Task, style: Style) -> str:
    posts = task.kind == "social post" and style.emoji is None
    if style.emoji != "yes" and not posts:
        return text
    icons = ("🎉", "😊", "👍", "🌟", "🙌")
    return f"{text} {icons[sum(map(ord, task.request)) % len(icons)]}"


def _framed(text: str, task: Task, style: Style) -> str:
    """What stands above and below all."""
    top, bottom = style.top, style.bottom
    if top == "heading":
        text = f"# {task.title}\n\n{text}"
    elif top == "subject":
        text = f"Subject: {task.title}\n\n{text}"
    elif top == "tldr":
        gist = task.facts[0] if task.facts else task.steps[0] if task.kind == "answer" else task.title
        text = f"TL;DR: {_sentence(gist, style)}\n\n{text}"
    elif top and top.startswith("="):
        inline = top.endswith(":") and not task.traits.get("letter") and "\n" not in text
        text = f"{top[1:]} {text}" if inline else f"{top[1:]}\n\n{text}"
    if bottom == "hashtags" or (bottom is None and task.traits.get("tags")):
        words = [word.capitalize() for word in re.findall(r"[A-Za-zé]{3,}", task.topic or task.title)]
        text = f"{text}\n\n#{''.join(words[:3])} #{(words or ['News'])[-1]}"
    elif bottom and bottom.startswith("="):
        text = f"{text}\n\n{bottom[1:]}"
    return text


def _cased(text: str, style: Style) -> str:
    change: Callable[[str], str] = {"lower": str.lower, "upper": str.upper}.get(style.case or "", str)
    return change(text)
