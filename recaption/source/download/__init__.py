"""`recaption download URLS OUT`: img2dataset, as published, with settings that suit captioning.

`job` runs it over the list (`recaption.source.urllist`), and once more over the URLs that failed temporarily; `opener`
checks each response in its processes; `results` reads the result of each URL.
"""
