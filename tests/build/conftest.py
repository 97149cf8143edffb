from written_shard import make, shard, store

__all__ = ["make", "shard", "store"]
