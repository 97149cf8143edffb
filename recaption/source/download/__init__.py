"""`recaption download URLS OUT`: img2dataset with settings made for what follows.

    list of URLs ─► pass 1 (img2dataset) ─► transient failures ─► pass 2, gentler ─► equal shards + failed.parquet

img2dataset runs in processes of its own and knows only row numbers and URLs (`passes`, `worker`); the opener that it
is given bounds bytes and time, honours opt-outs and takes only images (`fetch`); original columns come back when the
shards are written (`repack`). Nothing is dropped: URLs = images stored + rows of failed.parquet.
"""

from __future__ import annotations

from recaption.source.download.job import DownloadSummary, download

__all__ = ["DownloadSummary", "download"]
