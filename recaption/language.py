"""Guesses the language of a text by script, then by function words of a few languages in Latin script.

The guess keeps the English tagger away from other languages; it does not identify every language. Short texts
in Latin script count as English. `in_language` checks a text that should be in a certain language.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

_LATIN: Final = "latin"
LANGUAGES: Final[Mapping[str, tuple[str, str]]] = {
    "ar": ("Arabic", "ar"),
    "bg": ("Bulgarian", "ru"),
    "bn": ("Bengali", "bn"),
    "cs": ("Czech", _LATIN),
    "da": ("Danish", _LATIN),
    "de": ("German", "de"),
    "el": ("Greek", "el"),
    "en": ("English", "en"),
    "es": ("Spanish", "es"),
    "fa": ("Persian", "ar"),
    "fi": ("Finnish", _LATIN),
    "fr": ("French", "fr"),
    "he": ("Hebrew", "he"),
    "hi": ("Hindi", "hi"),
    "hu": ("Hungarian", _LATIN),
    "hy": ("Armenian", "hy"),
    "id": ("Indonesian", _LATIN),
    "it": ("Italian", "it"),
    "ja": ("Japanese", "ja"),
    "ka": ("Georgian", "ka"),
    "ko": ("Korean", "ko"),
    "mr": ("Marathi", "hi"),
    "ne": ("Nepali", "hi"),
    "nl": ("Dutch", "nl"),
    "no": ("Norwegian", _LATIN),
    "pl": ("Polish", _LATIN),
    "pt": ("Portuguese", "pt"),
    "ro": ("Romanian", _LATIN),
    "ru": ("Russian", "ru"),
    "sv": ("Swedish", _LATIN),
    "sw": ("Swahili", _LATIN),
    "ta": ("Tamil", "ta"),
    "th": ("Thai", "th"),
    "tr": ("Turkish", _LATIN),
    "uk": ("Ukrainian", "ru"),
    "ur": ("Urdu", "ar"),
    "vi": ("Vietnamese", _LATIN),
    "zh": ("Chinese", "zh"),
}
"""The languages that can be checked, by BCP 47 tag: the English name, and what `guess_language` returns for it.

Languages of one script share the result. `_LATIN`: a language in Latin script whose function words are not known."""

_SCRIPTS = re.compile(
    "(?P<ja>[\u3040-\u30ff\uff66-\uff9f])|(?P<zh>[\u3400-\u4dbf\u4e00-\u9fff])|(?P<ko>[\uac00-\ud7af\u1100-\u11ff])"
    "|(?P<ru>[\u0400-\u04ff])|(?P<ar>[\u0600-\u06ff])|(?P<hi>[\u0900-\u097f])|(?P<bn>[\u0980-\u09ff])|(?P<th>[\u0e00-\u0e7f])"
    "|(?P<he>[\u0590-\u05ff])|(?P<el>[\u0370-\u03ff])|(?P<ta>[\u0b80-\u0bff])|(?P<hy>[\u0530-\u058f])|(?P<ka>[\u10a0-\u10ff])"
    "|(?P<en>[A-Za-z\u00c0-\u024f])"
)
_WORDS = {
    "en": "the a an of and in is are on with to at there its it this that by from has for",
    "de": "der die das und ist ein eine mit auf im von den dem einer einem sind zu auch sich vor",
    "fr": "le la les un une des et est dans sur avec du sont au qui à en d'une l'image ses",
    "es": "el la los las un una de y en con es que se del está por hay su al imagen",
    "pt": "o a os as um uma de e em com é que do da no na está por há imagem",
    "it": "il lo la gli un una di e in con è che del della sono nel su al si",
    "nl": "de het een van en in is met op zijn er dat die voor aan naar bij wordt",
}
_LANGUAGES_OF: dict[str, list[str]] = {}
for _lang, _words in _WORDS.items():
    for _word in _words.split():
        _LANGUAGES_OF.setdefault(_word, []).append(_lang)
_ONLY_ENGLISH = frozenset(word for word, langs in _LANGUAGES_OF.items() if langs == ["en"])
_NO_OTHER = frozenset(("the", "and", "of", "with", "there", "its", "this", "that", "from", "has"))
"""English words that are not words of any other language of `LANGUAGES`."""
_CLOSED_CLASS: Final[Mapping[str, frozenset[str]]] = {
    lang: frozenset(words.split())
    for lang, words in {
        "en": "the a an and or but of in on at to from with without by for as is are was were be been has have had it "
        "its this that these those there here he she they his her their them who which what where when while not no "
        "into onto over under above below behind beside between near across through against along around before "
        "after up down out off one two three four five six seven eight nine ten some several many each other another "
        "all both very more also",
        "de": "der die das den dem des ein eine einer eines einem einen und oder aber sondern dass ob wenn als wie wo "
        "was wer ist sind war waren wird werden wurde hat haben hatte sein seine seinen seinem seiner ihr ihre ihren "
        "ihrem ihrer er sie es wir man sich nicht kein keine keinen mit auf im in am an aus bei beim von vom zu zum "
        "zur über unter vor hinter neben zwischen für gegen ohne durch um nach bis seit auch noch nur schon sehr mehr "
        "mehrere viele alle andere zwei drei vier fünf sechs sieben acht neun zehn dieser diese dieses jeder jede",
        "fr": "le la les un une des du de au aux et ou où mais ni donc que qui dont ce cet cette ces celui celle son "
        "sa ses leur leurs il elle ils elles se y en ne pas plus très tout tous toute toutes est sont était étaient "
        "être ont avait avoir dans sur sous avec sans pour par vers chez entre devant derrière près contre dessus "
        "dessous au-dessus au-dessous à côté autour depuis pendant après avant comme si même aussi deux trois quatre "
        "cinq six sept huit neuf dix plusieurs quelques chaque autre autres",
        "es": "el la los las un una unos unas lo de del al y e o u pero que quien donde cuando como si no ni es son "
        "está están era fue ser estar hay ha han su sus este esta estos estas ese esa aquel se le les a en con sin "
        "por para sobre bajo entre hacia hasta desde ante tras junto frente detrás delante encima debajo dentro fuera "
        "muy más también dos tres cuatro cinco seis siete ocho nueve diez varios varias otro otra otros otras cada "
        "todo todos toda todas mientras",
        "pt": "o a os as um uma uns umas de do da dos das no na nos nas ao à aos às pelo pela pelos pelas e ou mas "
        "que quem onde quando como se não é são está estão era foi ser há tem têm seu sua seus suas este esta esse "
        "essa em com sem por para sobre sob entre até desde ante junto frente atrás dentro fora muito mais também "
        "dois duas três quatro cinco seis sete oito nove dez vários várias outro outra outros outras cada todo todos "
        "enquanto num numa",
        "it": "il lo la i gli le un uno una di del dello della dei degli delle a al allo alla ai agli alle da dal "
        "dalla in nel nello nella nei negli nelle su sul sullo sulla sui sugli sulle con per tra fra e ed o ma che "
        "chi cui dove quando come se non è sono era erano essere ha hanno ci si suo sua suoi sue questo questa "
        "questi queste quello quella sotto sopra davanti dietro accanto dentro fuori vicino verso mentre anche molto "
        "più due tre quattro cinque sei sette otto nove dieci diversi diverse alcuni alcune altri altre ogni tutto "
        "tutti",
        "nl": "de het een van en of maar dat die dit deze is zijn was waren wordt worden heeft hebben had er hij zij "
        "ze hun haar men niet geen in op met aan bij naar uit voor achter naast tussen onder over door om te tot "
        "zonder tegen boven rond ook nog veel meer meerdere twee drie vier vijf zes zeven acht negen tien andere elke "
        "alle als wie wat waar",
    }.items()
}
"""Determiners, pronouns, prepositions, conjunctions, auxiliaries and numbers, for `in_language`. `_WORDS` has fewer,
because `guess_language` weighs each text against all languages. French lacks "a" and "on": English captions have
them too, and more often."""
_SHARED = """am con dans den die do door due era hat come la las les los man men met mon pan par per plus pour sin son
sue um van war"""
_HOMOGRAPHS: Final = frozenset(_SHARED.split())
"""Function words of other languages that are other English words, or parts of names in English."""
_ALSO_ENGLISH: Final = _HOMOGRAPHS | _CLOSED_CLASS["en"]
_ONLY_IN_ENGLISH: Final = {lang: _CLOSED_CLASS["en"] - words for lang, words in _CLOSED_CLASS.items()}
"""The function words of English that are none of another language."""
_CONTENT = """airplane apples away background bag bathroom beach bear beautiful bedroom bicycle big bird birds black
blue boat boats book books bottle bottom bowl boy boys bread bridge bright broken brown building buildings carries
carrying cars cat cats ceiling chairs cheese child children clean clock closed cloud clouds coat cold colorful corner
covered cow cows crossing crowd dark deep desk dirty dog dogs drawing dress dressed drinking dry duck during ears
eating eats edge empty eyes facing feet fence field filled fingers fish flies floor flower flowers flying food fork
fresh game girl girls glasses gloves grass gray green grey ground hair hanging hangs happy helmet high hill hills
holding holds horse horses hot house houses huge inside jacket jumping jumps just kitchen kite knife lake leaf leaning
leaves left legs light lights little living looking looks low lying meal middle milk mirror mountain mountains mouth
much narrow neck newspaper old only outside painted painting pants parked people photograph picture placed playing
plays pointing pretty purple rain reading reads reflection rides riding right river road rocks roof round running runs
sad shadow sheep shelf ship shoes short shoulder shoulders showing shows side sidewalk sign signs silver sits sitting
sky small smile smiles smiling snow someone spoon standing stands street sunlight sunset surrounded talking talks tall
teeth thick thin tiny together toward towards toy toys tree trees truck umbrella very waiting waits walking walks wall
walls watches watching wearing wears wheel wheels white wide window wine woman women wooden words yellow young"""
_ENGLISH_CONTENT: Final = frozenset(_CONTENT.split())
"""Words that are frequent in English captions, and are words of no other language of `_CLOSED_CLASS`."""
_ENGLISH_ARTICLE = re.compile(r"(?:\A|\b(?:in|on|of|as|at|by) )a ")
"""An "a" in a place where other languages of `_CLOSED_CLASS` rarely have it; Portuguese, whose texts may begin with it,
is excepted."""
_ELIDED = {
    "fr": re.compile(r"(?:[ldnscjmt]|qu)['’]"),
    "it": re.compile(r"(?:[ldcsn]|un|[dn]ell|[sd]?all|sull|quell)['’]"),
}
_LETTERS: Final = {
    "en": frozenset("é"),
    "de": frozenset("äöüß"),
    "fr": frozenset("àâæçéèêëîïôœùûüÿ"),
    "es": frozenset("áéíñóúü"),
    "pt": frozenset("áâãàçéêíóôõú"),
    "it": frozenset("àèéìîòóù"),
    "nl": frozenset("áéèëíïóöúü"),
}
"""Letters of a language beside a to z."""
_MARGIN = 2  # a text is of another language that has so many more votes than the expected one; English: one more
_OTHER_SCRIPT = re.compile("[\u0370-\u1dff\u2e80-\ud7ff\uf900-\uffef]")
_MAX_READ = 2000  # characters
_MIN_WORDS = 6
_ENOUGH_CONTENT = 2  # words of `_ENGLISH_CONTENT`: one may be a name or a loanword


def guess_language(text: str) -> str:
    """The language of `text` as a BCP 47 tag, from its first 2,000 characters; "und" for a text without letters."""
    text = text[:_MAX_READ]
    if _OTHER_SCRIPT.search(text) is None:
        return _latin(text) if any(map(str.isalpha, text)) else "und"
    scripts = Counter(match.lastgroup or "en" for match in _SCRIPTS.finditer(text))
    if not scripts:
        return "und"
    # an ideograph counts as three letters; a text with kana is Japanese
    weights = {script: n * (3 if script in ("zh", "ja", "ko") else 1) for script, n in scripts.items()}
    if "ja" in weights and "zh" in weights:
        weights["ja"] += weights.pop("zh")
    best = max(sorted(weights), key=lambda script: weights[script])
    return _latin(text) if best == "en" else best


def _latin(text: str) -> str:
    words = text.lower().split()
    if 5 * sum(map(_ONLY_ENGLISH.__contains__, words)) >= len(words):  # the usual case
        return "en"
    votes = _votes(words)
    if len(words) < _MIN_WORDS or not votes:
        return "en"
    best = max(sorted(votes), key=lambda lang: votes[lang])
    threshold = 1.5 * votes["en"] + 1 if _ONLY_ENGLISH.intersection(words) else votes["en"] + 1
    return best if votes[best] > threshold else "en"


def _votes(words: Sequence[str]) -> Counter[str]:
    """How many of the words are function words of each language."""
    return Counter(lang for word in words for lang in _LANGUAGES_OF.get(word.strip(".,;:!?"), ()))


def in_language(text: str, lang: str) -> bool:
    """Whether a text may be in `lang`, one of `LANGUAGES`: False if its script or its function words are those of
    another language.

    For texts in Latin script with fewer than six words, and for languages whose function words are not known, False
    only means that the text is in another script or in English. A text with few function words, as captions without
    articles and verbs have, is not taken for another language unless it has words or letters of that language. Words
    that are also English words, such as "in", "was" and "hat", are no evidence against English.
    """
    expected, guess = LANGUAGES[lang][1], guess_language(text)
    if expected not in (*_WORDS, _LATIN) or guess not in _WORDS:
        return guess == expected
    words = text[:_MAX_READ].lower().split()
    if expected != "en" and 8 * sum(map(_NO_OTHER.__contains__, words)) >= len(words):
        return False
    plain = [word.strip('.,;:!?()"“”«»') for word in words]
    if expected == _LATIN:
        return True
    if expected == "en":
        names = {word.lower() for word in text.split() if word[0].isupper()}
        return len(words) < _MIN_WORDS or _may_be_english(plain, [word for word in words if word not in names])
    distinct = _distinct(plain, expected) + _with_letters_of(expected, plain)
    if _content(plain) >= max(_ENOUGH_CONTENT, distinct + 1):
        return False
    if len(words) < _MIN_WORDS:
        return True
    votes = {lang: _function_words(plain, lang) for lang in _CLOSED_CLASS}
    own, others = votes.pop(expected), max(votes.values())
    if not own:
        return not others and _has_letters_of(expected, plain)
    if votes["en"] == own and expected != "pt" and _ENGLISH_ARTICLE.search(" ".join(words)):
        return False
    shared = 0 if distinct else sum(map((_HOMOGRAPHS & _CLOSED_CLASS[expected]).__contains__, plain))
    return votes["en"] <= own - shared and others < own + _MARGIN


def _may_be_english(words: Sequence[str], common: Sequence[str]) -> bool:
    """`common`: those that are not capitalised, because names of other languages occur in English."""
    content = _content(words)
    votes = {lang: _function_words(words, lang) for lang in _CLOSED_CLASS}
    own = votes.pop("en") + content
    if not own:
        return not any(votes.values()) and _has_letters_of("en", words)
    return max(votes.values()) < own + _MARGIN and not any(
        _distinct(words, lang) + _with_letters_of(lang, common)
        > content + sum(map(_ONLY_IN_ENGLISH[lang].__contains__, words))
        for lang in votes
    )


def _has_letters_of(lang: str, words: Sequence[str]) -> bool:
    """Whether all letters of the words are in the language's alphabet."""
    return all(char in _LETTERS[lang] for char in "".join(words) if char.isalpha() and not char.isascii())


def _with_letters_of(lang: str, words: Sequence[str]) -> int:
    """How many of these words have a letter of the language that English lacks."""
    return sum(not _LETTERS[lang].isdisjoint(word) for word in words)


def _content(words: Sequence[str]) -> int:
    """How many of these words are in `_ENGLISH_CONTENT`."""
    return sum(map(_ENGLISH_CONTENT.__contains__, words))


def _distinct(words: Sequence[str], lang: str) -> int:
    """How many of these words are function words of the language, and not words of English."""
    return _function_words([word for word in words if word not in _ALSO_ENGLISH], lang)


def _function_words(words: Sequence[str], lang: str) -> int:
    """How many of these words, without punctuation, are function words of a language. A word that contains an elided
    one, such as d'un, counts once."""
    known, elided = _CLOSED_CLASS[lang], _ELIDED.get(lang)
    return sum(word in known or (elided is not None and elided.match(word) is not None) for word in words)
