"""Reads a finished build again, all of it, and says what is wrong and where.

    locate ──► manifest ──► files beside it ──► each shard: its files, then `check.CHECKS` ──► keys and splits of all

Every check is a small function that yields `Problem`s; `base.KINDS` lists what they can find. One shard is held.
"""

from recaption.validate.base import KINDS
from recaption.validate.check import validate_output

__all__ = ["KINDS", "validate_output"]
