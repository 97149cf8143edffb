"""Two real ranks under torchrun, interrupted and continued with other workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from loading import two_texts

from recaption.load import CaptionDataset

TESTS = Path(__file__).parent.parent

RANK = """
import json, sys
from pathlib import Path
from torch import distributed
from loading import two_texts
from recaption.load import CaptionDataset, loader

out, folder = sys.argv[1], Path(sys.argv[2])
distributed.init_process_group("gloo")
rank = distributed.get_rank()
state = None
with (folder / f"{rank}.jsonl").open("w") as seen:
    for workers, stop in ((1, 5), (0, 9)):  # over the end of the epoch, after 6 steps
        batches = loader(CaptionDataset(out, policy=two_texts, batch_size=4, strings=True), num_workers=workers)
        if state is not None:
            batches.load_state_dict(json.loads(state))
        for batch in batches:
            seen.write(json.dumps([batch["step"], batch["keys"], batch["strings"]]) + "\\n")
            distributed.barrier()
            if batches.step == stop:
                break
        states = [None, None]
        distributed.all_gather_object(states, json.dumps(batches.state_dict()))
        assert states[0] == states[1]
        state = states[1 - rank]  # a rank may go on from any other's
distributed.destroy_process_group()
"""


def torchrun(script: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    paths = os.pathsep.join(filter(None, [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_two_ranks_go_on_where_they_were(built: Callable[[str], Path], tmp_path: Path) -> None:
    out, script = built("webdataset"), tmp_path / "rank.py"
    script.write_text(RANK)
    torchrun(script, str(out), str(tmp_path))
    for rank in range(2):
        seen = [json.loads(line) for line in (tmp_path / f"{rank}.jsonl").read_text().splitlines()]
        made = CaptionDataset(out, policy=two_texts, batch_size=4, strings=True, rank=rank, world_size=2)
        expected = [made.batch(step) for step in range(9)]
        assert seen == [[batch["step"], batch["keys"], batch["strings"]] for batch in expected]
