"""Tasks: `registry` lists them, `base` has what they share, `question` makes their requests about an image."""
