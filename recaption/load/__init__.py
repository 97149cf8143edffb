"""Datasets for torch: sampling policies of a record's texts."""
