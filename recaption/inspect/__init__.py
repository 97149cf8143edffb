"""Inspecting a dataset: DuckDB views over an output, SQL, an overview, and the summary of a build."""

from __future__ import annotations

from recaption.inspect.comparison import Diff, diff, print_diff
from recaption.inspect.connection import connect
from recaption.inspect.overview import print_overview, print_overviews
from recaption.inspect.query import QueryResult, run_sql
from recaption.inspect.results import ResultFormat, output_diff, output_question, output_sql, show_sql
from recaption.inspect.shell import Shell
from recaption.inspect.summary import GenerationSummary, Summary, print_summary, summarise
from recaption.inspect.table import print_result

__all__ = [
    "Diff",
    "GenerationSummary",
    "QueryResult",
    "ResultFormat",
    "Shell",
    "Summary",
    "connect",
    "diff",
    "output_diff",
    "output_question",
    "output_sql",
    "print_diff",
    "print_overview",
    "print_overviews",
    "print_result",
    "print_summary",
    "run_sql",
    "show_sql",
    "summarise",
]
