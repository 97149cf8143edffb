"""`recaption download URLS OUT`: img2dataset with settings that suit captioning.

`lists` reads the list, `job` runs img2dataset over it, and over the URLs that failed temporarily once more, `opener`
checks each response in img2dataset's processes, `outcomes` reads the result of each URL from img2dataset's tables.
"""

from recaption.source.download.job import DownloadSummary, download

__all__ = ["DownloadSummary", "download"]
