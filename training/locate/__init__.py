"""Training of the scene box model: `python -m training.locate.train`."""
