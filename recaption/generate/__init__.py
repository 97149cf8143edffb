"""Generation: images in, raw answers in the store. Ray runs it (`driver`, `transport`); the rest is plain Python.

plan ──► driver ──► scheduler (pure) ──► actor: prefetch (read, render), retry (generate), part_writer ──► parts
            │                                                                                               ▲
            └── chunks: index a shard, list the missing requests ───────────────────────────────────────────┘

poison       decides which images are poison, when engines crash
retry        decides whether an answer is retried, kept or rejected
utilisation  computes the engine utilisation, and what limited it
"""
