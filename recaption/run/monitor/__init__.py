"""Watching a run: its progress, log, metrics, budget and notices."""
