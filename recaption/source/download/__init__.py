"""`recaption download URLS OUT`: img2dataset, as published, with settings that suit captioning.

`job` runs it over the list, and over the URLs that failed temporarily once more; `opener` checks each response in its
processes; `tables` writes the list for it and reads the results.
"""
