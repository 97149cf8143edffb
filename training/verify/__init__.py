"""Training of the scene verifier: `python -m training.verify.train`."""
