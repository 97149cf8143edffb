"""Tasks: what becomes of a model's answer. `caption` turns an answer into the text of a caption."""
