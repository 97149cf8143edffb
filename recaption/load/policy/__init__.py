"""Sampling policies: how a trainer draws K texts from a record.

    >>> from recaption.load import policy
    >>> draw = policy.weighted(k=8, max_merge=3, p_raw=0.1)
    >>> draw(record, np.random.default_rng([seed, epoch, index]), step)  # a list of 8 Drawn

A policy is a function of (record, generator, global step). You can write your own, for example a curriculum:

    def curriculum(record, rng, step):
        return (short_texts if step < 10_000 else long_texts)(record, rng, step)

where `short_texts` and `long_texts` are policies of the same K. The policies of this module return exactly K texts for
every record that has a text, and raise DatasetError for a record without one.
"""

from recaption.load.policy.drawn import WHOLE, Drawn, Policy
from recaption.load.policy.published import cosmos, dreamlip, flair, lotlip
from recaption.load.policy.suggested import from_manifest
from recaption.load.policy.weigh import weighted
from recaption.load.policy.wholes import long, raw, recap_mix, shear, short

__all__ = [
    "WHOLE",
    "Drawn",
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
