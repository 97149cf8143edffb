"""`recaption download URLS OUT`: img2dataset with settings that suit captioning.

    list of URLs ─► img2dataset ─► shards; transient failures ─► img2dataset, gentler ─► further shards

`lists` reads the list, `passes` runs img2dataset in a process of its own, `worker` is that process, `opener` checks
each response there, `outcomes` reads the result of each URL from img2dataset's tables, `job` puts them together.
"""

from __future__ import annotations

from recaption.source.download.job import DownloadSummary, download

__all__ = ["DownloadSummary", "download"]
