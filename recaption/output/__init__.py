"""The files of an output: paths, indexes, stored answers, the lease, and the reports of its runs."""
