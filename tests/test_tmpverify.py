import sys; sys.path[:0]=['/work/main/tests']
import pytest
from test_run import *
def test_it(make_source, tmp_path):
    source, out = make_source(shards=2, per_shard=20), tmp_path / "out"
    data = pipeline_data(f"{source}/*.tar", out)
    data["generate"].append({"id":"check","model":"fake","task":"verify","over":"long"})
    got = run(data)
    print(got.sums, got.answered)
    found = manifest(out)
    print(found["generations"][-1])
    t = pq.read_table(out/"dataset"/"verifications")
    print(t.slice(0,3).to_pylist(), t.num_rows)
    again = run(data)
    assert not again.changed and again.answered == 0, again.sums
    print(again.sums)
    data["models"]["judge"] = {**data["models"]["fake"]}
    data["generate"].append({"id":"check2","model":"judge","task":"verify","over":"long"})
    got = run(data)
    print(got.sums, got.answered)
