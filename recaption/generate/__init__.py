"""Generation: images in, raw answers in the store. Ray runs it (`driver`, `transport`); the rest is plain Python.

plan ──► driver ──► scheduler (pure) ──► actor: prefetch (read, render), retry (generate), part_writer ──► parts
            │                                                                                               ▲
            └── chunks: index a shard, list the missing requests ───────────────────────────────────────────┘
"""
