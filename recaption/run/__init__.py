"""The whole job: `job.run` drives generation (Ray), `builder` turns finished shards into files beside it."""

from recaption.run.job import Outcome, run

__all__ = ["Outcome", "run"]
