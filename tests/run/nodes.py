"""Several Ray nodes on this machine, each with one GPU on paper, in a process of their own, where no test's Ray is.

python nodes.py    starts a head node; says its address
python nodes.py no-gpu     starts one without a GPU
add                on standard input: starts another node; says its id
kill               ends the node added last, as a power cut would; says its id
end of input       ends them all
"""

from __future__ import annotations

import sys
from typing import Any

from ray.cluster_utils import Cluster


def add(cluster: Cluster, **options: Any) -> Any:
    # Ray's port for a head node's agent is fixed (52365): with another Ray on the machine, it has no agent for jobs.
    options = {"include_dashboard": False, "num_gpus": 1, "dashboard_agent_listen_port": 0, **options}
    return cluster.add_node(num_cpus=2, object_store_memory=100 * 2**20, **options)


def main() -> None:
    quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 4}
    cluster = Cluster()
    added: list[Any] = []
    if sys.argv[1:] == ["dashboard"]:
        add(cluster, include_dashboard=True, dashboard_port=0)
        print(f"http://{cluster.webui_url}", flush=True)
    else:
        add(cluster, _system_config=quick, num_gpus=int(sys.argv[1:] != ["no-gpu"]))
        print(cluster.address, flush=True)
    try:
        for line in sys.stdin:
            if line.strip() == "kill":
                node = added.pop()
                cluster.remove_node(node, allow_graceful=False)
            else:
                node = add(cluster)
                added.append(node)
            print(node.node_id, flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
