"""Sampling policies: how a trainer draws K texts from a record.

    >>> from recaption.load import policy
    >>> draw = policy.weighted(k=8, max_merge=3, p_raw=0.1)
    >>> draw(record, np.random.default_rng([seed, epoch, index]), step)  # a list of 8 DrawnText

A policy is a function of (record, generator, global step), and so is your own. A curriculum, say:

    def curriculum(record, rng, step):
        return (short_texts if step < 10_000 else long_texts)(record, rng, step)

where `short_texts` and `long_texts` are policies of the same K. The policies of this package give exactly K texts for
every record with a text, and raise DatasetError for a record without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from recaption.errors import UserError
from recaption.load.policy.base import WHOLE, DrawnText, Policy
from recaption.load.policy.by_weight import weighted
from recaption.load.policy.published import cosmos, dreamlip, flair, lotlip
from recaption.load.policy.whole_captions import long, raw, recap_mix, shear, short

__all__ = [
    "WHOLE",
    "DrawnText",
    "Policy",
    "cosmos",
    "dreamlip",
    "flair",
    "from_manifest",
    "long",
    "lotlip",
    "raw",
    "recap_mix",
    "shear",
    "short",
    "weighted",
]

_MAKERS_BY_NAME: Final[Mapping[str, Callable[[Mapping[str, Any]], Policy]]] = {
    "weighted": lambda s: weighted(s["k"], s["max_merge"], s["p_raw"], weights=s.get("weights")),
    "flair": lambda s: flair(s["k"], s["max_merge"]),
    "dreamlip": lambda s: dreamlip(s["k"] - 1, s["max_merge"]),
    "cosmos": lambda s: cosmos(s["k"]),
    "lotlip": lambda s: lotlip(s["k"] - 1, s["max_merge"]),
    "recap_mix": lambda s: recap_mix(s["p_raw"], s["k"]),
    "shear": lambda s: shear(k=s["k"]),
    "long": lambda s: long(s["k"]),
    "short": lambda s: short(s["k"]),
    "raw": lambda s: raw(s["k"]),
}


def from_manifest(sampling: Mapping[str, Any]) -> Policy:
    """The policy of a manifest's `sampling` (schemas/manifest.schema.json): policy, k, max_merge, p_raw, weights.

    `k` is the number of all texts of an image, including the raw caption with which dreamlip and lotlip begin;
    `max_merge` is the number of sentences that these two merge. Raises UserError for an unknown policy, a missing key
    or a value that the policy does not allow.
    """
    try:
        name = sampling["policy"]
        if name in _MAKERS_BY_NAME:
            return _MAKERS_BY_NAME[name](sampling)
    except KeyError as error:
        raise UserError(f"sampling has no {error}; give policy, k, max_merge and p_raw") from error
    raise UserError(
        f"the manifest suggests the policy {name!r}, and recaption knows {', '.join(_MAKERS_BY_NAME)}; "
        "upgrade recaption, or give a policy"
    )
