"""recaption: images in, fine-grained captions out.

    source --> generate --> (answers) --> annotate --> write --> dataset --> inspect, load

Importing this package imports none of torch, ray, vllm, spacy or duckdb.
"""

__version__ = "0.1.0"
