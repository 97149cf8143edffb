"""Training of the weights of `is_meta`: `python -m training.meta.train`."""
