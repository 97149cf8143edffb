"""Looking into a dataset: DuckDB views over an output folder, SQL, a first look and the summary of a run."""

from __future__ import annotations

from recaption.inspect.connection import connect
from recaption.inspect.look import first_look
from recaption.inspect.query import Answered, run_sql
from recaption.inspect.summary import Asked, Summary, print_summary, summarise
from recaption.inspect.table import print_answer, print_sql

__all__ = [
    "Answered",
    "Asked",
    "Summary",
    "connect",
    "first_look",
    "print_answer",
    "print_sql",
    "print_summary",
    "run_sql",
    "summarise",
]
