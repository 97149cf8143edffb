"""Training of the embedded scene captioner: `python -m training.scene.train`, or `make scene-model`."""
