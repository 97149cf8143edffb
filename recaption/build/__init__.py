"""Turns complete shards into a published build: joins answers to images, annotates, writes, publishes."""
