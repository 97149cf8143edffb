"""Tasks. `question` makes the requests about an image; `caption` turns an answer into the text of a caption."""
