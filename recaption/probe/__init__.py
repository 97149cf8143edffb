"""Compares sets of captions by what a small model learns from them.

Each arm is a set of captions and a sampling policy. All arms share the images, whose features are computed once and
stay frozen; a text tower and a linear image head are trained from scratch with the multi-positive sigmoid loss.
Queries with known answers, which come from none of the arms, measure the result.

- A seed changes the initial weights, the order, the drawn texts and the 80 % of the images that are trained on. Arms of
  the same seed share all of these.
- Three control arms come from the first arm: it has other draws, 30 % corrupted sentences, or sentences of other
  images.
- `verdict` calls one arm better only under a strict rule.
"""

from __future__ import annotations

import importlib.util

from recaption.errors import MissingExtra

for _package in ("msgspec", "torch"):
    if importlib.util.find_spec(_package) is None:
        raise MissingExtra(_package, "train")
