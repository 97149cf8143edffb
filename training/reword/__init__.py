"""Training of the scene text model, which reads captions without images: `python -m training.reword.train`."""
