"""Looking into a dataset: DuckDB views over an output folder, SQL, a first look and the summary of a run."""

from __future__ import annotations

from recaption.inspect.answering import Form, answer_diff, answer_question, answer_sql, show_sql
from recaption.inspect.comparison import Diff, diff, print_diff
from recaption.inspect.connection import connect
from recaption.inspect.look import first_look, look_at
from recaption.inspect.query import Answered, run_sql
from recaption.inspect.shell import Shell
from recaption.inspect.summary import Asked, Summary, print_summary, summarise
from recaption.inspect.table import print_answer

__all__ = [
    "Answered",
    "Asked",
    "Diff",
    "Form",
    "Shell",
    "Summary",
    "answer_diff",
    "answer_question",
    "answer_sql",
    "connect",
    "diff",
    "first_look",
    "look_at",
    "print_answer",
    "print_diff",
    "print_summary",
    "run_sql",
    "show_sql",
    "summarise",
]
