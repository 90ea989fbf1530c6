"""Tables of words that wishes are checked and mended by."""

import regex

BRITISH = dict(
    pair.split(":")
    for pair in (
        "color:colour colors:colours colored:coloured colorful:colourful favorite:favourite favor:favour "
        "favors:favours flavor:flavour flavors:flavours flavored:flavoured neighbor:neighbour neighbors:neighbours "
        "neighborhood:neighbourhood neighboring:neighbouring harbor:harbour harbors:harbours labor:labour honor:honour "
        "honors:honours honored:honoured behavior:behaviour center:centre centers:centres theater:theatre "
        "theaters:theatres meter:metre meters:metres liter:litre liters:litres organize:organise organized:organised "
        "organizes:organises organizing:organising organizers:organisers apologize:apologise apologized:apologised "
        "apologizes:apologises apologizing:apologising recognize:recognise recognized:recognised recognizes:recognises "
        "realize:realise realized:realised summarize:summarise analyze:analyse analyzed:analysed analyzes:analyses "
        "canceled:cancelled canceling:cancelling traveling:travelling traveled:travelled traveler:traveller gray:grey "
        "catalog:catalogue catalogs:catalogues prioritize:prioritise minimize:minimise maximize:maximise "
        "utilize:utilise specialized:specialised"
    ).split()
)
NUMERALS = dict(
    zip("two three four five six seven eight nine ten eleven twelve".split(), map(str, range(2, 13)), strict=True)
)
CONTRACTIONS = dict(
    pair.split(":")
    for pair in (
        "do not:don't;does not:doesn't;did not:didn't;is not:isn't;are not:aren't;was not:wasn't;were not:weren't;"
        "will not:won't;would not:wouldn't;should not:shouldn't;could not:couldn't;have not:haven't;has not:hasn't;"
        "cannot:can't;can not:can't;I am:I'm;I will:I'll;I have:I've;I would:I'd;we are:we're;we will:we'll;"
        "we have:we've;you are:you're;you will:you'll;it is:it's;that is:that's;they are:they're"
    ).split(";")
)
MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
DATE = regex.compile(rf"\b({MONTHS}) (\d{{1,2}})(?:st|nd|rd|th)?\b(?!\d)")
TIME = regex.compile(r"(?i)\b(1[0-2]|0?[1-9])(?::([0-5]\d))?\s?([ap])(?:m\b|\.m\.)")
EMOJI = regex.compile(
    r"[ \t]*(?:[\p{Extended_Pictographic}--[#*0-9©®™]][\uFE0F\u200D\U0001F3FB-\U0001F3FF]*)+", regex.V1
)
VERBOSE = regex.compile(
    r"(?i)(?:this|the)(?: \w+)? (?:function|code|method|comment|snippet)(?: `[^`\n]+`)? (?:is used to |will |that )?"
)
FILLER_SENTENCES = regex.compile(
    r"(?i)^(?:(?:sure|certainly|of course|absolutely|great)[!.]$|"
    r"i hope (?:this|you|that|all)\b|i trust this\b|please (?:do not|don't|feel free|let (?:me|us) know)\b|"
    r"(?:if|should) you have any\b|thank you for your (?:understanding|time|attention|patience|cooperation)\b|"
    r"i (?:look|am looking) forward\b|looking forward\b|don't hesitate\b|let me know if\b|"
    r"here(?: is|'s) (?:a|an|the|your|my)\b[^.!?]*:?$)"
)
FILLER_PHRASES = regex.compile(
    r"(?i)^(?:(?:sure|certainly|of course|absolutely|great|overall|additionally|furthermore|moreover|in conclusion)[,!]"
    r"\s*|it is (?:important|worth) (?:to note|noting) that\s+|i(?: am writing|'m writing| just wanted| wanted| would "
    r"like|'d like) to (?:inform you|let you know|tell you)(?: that)?\s+|please note that\s+)(?=\S)"
)
GREETING_WORD = regex.compile(r"(?i)^(?:hi|hello|hey|dear|greetings|good (?:morning|afternoon|evening|day))\b")
