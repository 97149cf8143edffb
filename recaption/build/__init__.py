"""From complete shards to a published build: join answers to images, annotate, write, publish."""
