"""Runs a command once on each of several machines of a Ray cluster, as one run of ``retouch train``.

    python scripts/train_on_ray.py --nodes 4 --gpus 8 -- retouch train ... --devices 8 --nodes 4

Ray reserves the machines and starts the processes; MASTER_ADDR, MASTER_PORT and NODE_RANK tell them of each
other. Where one fails the others are ended. Exits with the first status that is not 0.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=1, help="machines")
    parser.add_argument("--gpus", type=float, default=0, help="of each machine")
    parser.add_argument("--cpus", type=float, default=1, help="of each machine")
    parser.add_argument("--address", default=None, help="of the cluster; by default this machine's")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(argv)

    import ray
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    ray.init(options.address, ignore_reinit_error=True, log_to_driver=True)
    bundle = {"CPU": options.cpus, **({"GPU": options.gpus} if options.gpus else {})}
    group = placement_group([bundle] * options.nodes, strategy="STRICT_SPREAD")
    ray.get(group.ready())

    @ray.remote(num_cpus=0, max_retries=0)
    def meeting() -> tuple[str, int]:
        """An address and a port of the machine that it runs on."""
        import socket

        with socket.socket() as free:
            free.bind(("", 0))
            return ray.util.get_node_ip_address(), free.getsockname()[1]

    @ray.remote(num_cpus=options.cpus, num_gpus=options.gpus, max_retries=0)
    def run(command: list[str], rank: int, address: str, port: int) -> int:
        shared = {"MASTER_ADDR": address, "MASTER_PORT": str(port), "NODE_RANK": str(rank)}
        return subprocess.run(command, env={**os.environ, **shared}, check=False).returncode

    def on(rank: int) -> PlacementGroupSchedulingStrategy:
        return PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)

    address, port = ray.get(meeting.options(scheduling_strategy=on(0)).remote())
    waiting = [
        run.options(scheduling_strategy=on(rank)).remote(options.command, rank, address, port)
        for rank in range(options.nodes)
    ]
    while waiting:
        (done,), waiting = ray.wait(waiting)
        status = ray.get(done)
        if status:
            for other in waiting:
                ray.cancel(other, force=True)
            return int(status)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
