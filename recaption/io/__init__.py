"""Files, URLs and object stores: reading, and writing that leaves each file whole or absent."""
