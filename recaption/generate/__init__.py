"""Generation: images in, raw answers in the store. Ray carries it (`driver`); everything else here is plain Python.

plan ──► driver ──► scheduler (pure) ──► actor: read, ask (retry), put ──► parts
            │                                                               ▲
            └── chunks: index a shard, see what is missing ─────────────────┘
"""
