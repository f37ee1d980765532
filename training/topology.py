"""How many processes share a job's steps and how: one, DDP, or FSDP2. Asserted, never silently degraded.

A recipe with `processes = 4` makes the job's process start three peers beside itself; `torchrun` over several machines
starts them all, and then its number of processes must be the recipe's. Every process runs the same code on the same rows
and takes its share of each step; process 0 alone writes. Knows no loss and no data.

Why not accelerate: with `use_cpu` its FSDP2 configuration silently runs DDP, and two processes without mpirun run as one.
"""

from __future__ import annotations

import inspect
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from training.recipe import Recipe
from training.run_folder import JobError

LEADER = "WORLDLINE_LEADER"  # the process that started a peer
JOINING = timedelta(days=2)  # so long the others wait for the first one, which measures before it joins them


@dataclass(frozen=True)
class Topology:
    """This process among all of a job."""

    rank: int
    world: int
    parallel: str  # "single", "ddp" or "fsdp2"
    device: Any  # torch.device

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def summed(self, *values: float) -> list[float]:
        """Sums over all processes."""
        if self.world == 1:
            return list(values)
        import torch

        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        return total.tolist()

    def wait(self) -> None:
        if self.world > 1:
            import torch

            torch.distributed.barrier()


def rank() -> int:
    """This process's number; 0 when it is the only one or the first."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """This process's number on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def peers(folder: Path, recipe: Recipe, lock: int | None) -> Iterator[None]:
    """The other processes of a job on this machine, where nobody (torchrun) has started them. They hold its lock too."""
    if recipe.processes == 1 or "WORLD_SIZE" in os.environ:
        yield
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": str(recipe.processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    package = str(Path(__file__).resolve().parents[1])
    search = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "training.jobs", "run", str(folder.resolve())],
            stdin=subprocess.DEVNULL, pass_fds=() if lock is None else (lock,),
            env={**os.environ, **shared, "RANK": str(r), "LOCAL_RANK": str(r), "PYTHONPATH": search,
                 "OMP_NUM_THREADS": str(recipe.threads), LEADER: str(os.getpid())},
        )
        for r in range(1, recipe.processes)
    ]  # fmt: skip
    mine = {**shared, "RANK": "0", "LOCAL_RANK": "0"}
    os.environ.update(mine)
    try:
        yield
    finally:
        for name in mine:
            os.environ.pop(name, None)
        for child in started:
            try:
                child.wait(timeout=5)  # it ends when the collectives do
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def started(recipe: Recipe) -> int:
    """How many processes there are. Raises JobError when they are not as many as the recipe says."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world != recipe.processes:
        raise JobError(
            f"The recipe says processes = {recipe.processes}, but {world} were started. Start them with "
            f"torchrun --nproc-per-node (times --nnodes) {recipe.processes}, or without torchrun on one machine."
        )
    return world


def end_with_leader() -> None:
    """Where `peers` started this process: end when the first one is gone, even if it was killed before the others had joined it."""
    leader = os.environ.get(LEADER)
    if leader:
        threading.Thread(target=_watch, args=(int(leader),), daemon=True).start()


def _watch(leader: int) -> None:
    while os.getppid() == leader:
        time.sleep(1)
    os._exit(1)


@contextmanager
def joined(recipe: Recipe) -> Iterator[Topology]:
    """Join the other processes. Raises JobError when they are not as many as the recipe says."""
    import torch

    world = started(recipe)
    device = device_of(recipe, local_rank())
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world == 1:
        yield Topology(0, 1, "single", device)
        return
    # The first process comes when it has measured the base model, which may take hours; from then on nobody waits for so long.
    store, number, _ = next(torch.distributed.rendezvous("env://", timeout=JOINING))
    torch.distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo", store=store, rank=number, world_size=world
    )
    try:
        found = torch.distributed.get_world_size()
        assert found == world, f"{found} of {world} processes"
        yield Topology(torch.distributed.get_rank(), world, recipe.parallel, device)
    finally:
        torch.distributed.destroy_process_group()


def device_of(recipe: Recipe, local: int = 0) -> Any:
    """The recipe's device for the process with this number on its machine. Raises JobError when it is not there."""
    import torch

    count = torch.cuda.device_count()
    wanted = recipe.device if recipe.device != "auto" else "cuda" if count else "cpu"
    if wanted == "cpu":
        return torch.device("cpu")
    index = int(wanted.partition(":")[2] or 0) + local
    if index >= count:
        raise JobError(f'device = "{recipe.device}": there is no GPU {index} here ({count} found). Use device = "cpu".')
    return torch.device("cuda", index)


def only_device(recipe: Recipe) -> Any:
    """The recipe's device, from now on the only GPU that this process sees: a trainer that is not ours takes the first one, and spreads
    batches over all that there are. Before anything has used a GPU. Raises JobError when it is not there.
    """
    import torch

    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    device = device_of(recipe)
    if device.type == "cpu":
        return device
    os.environ["CUDA_VISIBLE_DEVICES"] = seen.split(",")[device.index].strip() if seen else str(device.index)
    if torch.cuda.device_count() != 1:
        raise JobError(
            f"{torch.cuda.device_count()} GPUs are seen where one was asked for. Start the job with "
            f'CUDA_VISIBLE_DEVICES={device.index} and device = "cuda".'
        )
    return torch.device("cuda", 0)


def spread(model: Any, topology: Topology, recipe: Recipe) -> Any:
    """The model as the processes share it; asserts that they do."""
    import torch

    model.to(topology.device)
    if topology.parallel == "single":
        return model
    if topology.parallel == "ddp":
        on = [topology.device] if topology.device.type == "cuda" else None
        data_parallel = torch.nn.parallel.DistributedDataParallel
        # The buffers never change, so no pass need send them. torch 2.13 renamed the option, and warns of the old name.
        named = inspect.signature(data_parallel).parameters
        option: Any = {"forward_sync_buffers" if "forward_sync_buffers" in named else "broadcast_buffers": False}
        return data_parallel(model, device_ids=on, **option)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
    from torch.distributed.tensor import DTensor

    mesh = init_device_mesh(topology.device.type, (topology.world,))
    low = torch.bfloat16 if recipe.dtype == "bfloat16" else None
    policy = MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32)
    blocks = set(getattr(model, "_no_split_modules", None) or [])
    found = [m for m in model.modules() if type(m).__name__ in blocks]
    if not found:
        raise JobError(
            f'{type(model).__name__} does not name its layers, so it cannot be sharded. Use parallel = "ddp".'
        )
    for block in found:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    assert all(isinstance(p, DTensor) for p in model.parameters()), "FSDP2 was asked for and a parameter is not sharded"
    return model


def whole_weights(model: Any, topology: Topology) -> dict[str, Any]:
    """The full state dict on process 0 (elsewhere empty), on the CPU."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    if topology.world == 1:
        return {k: v.detach() for k, v in model.state_dict().items()}
    return get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
