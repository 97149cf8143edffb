"""What an output holds and where: paths, indexes, stored answers, the lease, and the reports of its runs."""
