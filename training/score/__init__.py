"""Training of the dual encoder for scenes: `python -m training.score.train`."""
