"""Training of the shipped part-of-speech tagger: `python -m training.tagger.train`, or `make tagger-model`."""
