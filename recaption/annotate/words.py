"""Words that decide where a sentence ends."""

from __future__ import annotations

from typing import Final


def words(text: str) -> list[str]:
    """The words of a list written as text."""
    return text.split()


STARTERS: Final = frozenset(
    words("""
    A Above Across Additionally Adjacent All Along Alongside Also Although Among And Another Around As At Atop Because
    Behind Below Beneath Beside Besides Between Beyond Both But By Despite Directly During Each Every Everything Far
    Farther Few Finally First Five For Four From Further Furthermore He Her Here His How However If In Inside Into It
    Its Just Lastly Many Meanwhile Moreover Most Multiple My Near Nearby Next No Nobody None Not Nothing Notably
    Numerous On One Only Onto Opposite Or Other Others Our Out Outside Over Overall People Perhaps Second Several She
    Similarly Since Six So Some Such Surrounding That The Their Then There These They Third This Those Though Three
    Through Throughout To Together Toward Towards Two Under Underneath Until Up Upon Various Visible We What When
    Where Which While Who With Within Without Yet You Your An
    """)
)
"""Capitalised, they begin a sentence even right behind an abbreviation."""

TITLES: Final = frozenset(
    words("""
    mr mrs ms mx dr prof st mt ft gen sgt capt lt col maj cmdr adm rev hon pres gov sen rep fr sra messrs mlle mme
    sgts drs supt insp
    """)
)
"""Never end a sentence before a name."""

CONTINUES: Final = frozenset(words("e.g i.e eg ie cf vs v.s viz incl esp resp aka a.k.a w.r.t approx"))
"""Always go on."""

NUMBERED: Final = frozenset(
    words("""
    no nos nr fig figs vol vols p pp ch chap sec sect art eq ca c circa est rte hwy rt max min ver ed pt apt
    """)
)
"""Go on before a number."""

DAYS: Final = frozenset(
    words("""
    monday tuesday wednesday thursday friday saturday sunday mon tue wed thu fri sat sun january february march april
    may june july august september october november december est edt pst pdt cst cet gmt utc bst
    """)
)
"""Go on behind "a.m." and "p.m."."""

MONTHS: Final = frozenset(
    words("""
    jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri
    """)
)
"""Go on before a number; before another word unless it begins a sentence."""

UNCERTAIN: Final[dict[str, bool]] = {
    **dict.fromkeys(
        words("""
    inc ltd co corp bros jr sr u.s u.k u.s.a d.c ph.d m.d b.a m.a dept univ assn
    """),
        True,
    ),
    **dict.fromkeys(words("ave blvd rd ln pkwy sq hts bldg r.i.p a.d b.c b.c.e c.e ltda gmbh"), True),
    **dict.fromkeys(
        words("""
    etc et al in cm mm km kg lb lbs oz ml hr hrs sec mins mph gal qt yd yds
    """),
        False,
    ),
}
"""May end a sentence. True: the sentence continues unless a starter follows. False: it ends before any capital."""
