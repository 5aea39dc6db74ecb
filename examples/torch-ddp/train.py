"""Train a small network on scikit-learn's digits in several processes, with PyTorch's DistributedDataParallel on CPUs.

Both clouds start the processes with torchrun's variables (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT), which
init_process_group
reads. Each process sees its share of the data; gradients are averaged, so that all end with the same weights.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.01)
    arguments = parser.parse_args()

    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    print(f"process {rank} of {size}", flush=True)
    torch.manual_seed(7)

    pixels, digits = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = (
        torch.tensor(part) for part in train_test_split(pixels / 16.0, digits, random_state=7)
    )
    data = TensorDataset(train_x.float(), train_y)
    sampler: DistributedSampler = DistributedSampler(data, shuffle=True, seed=7)
    loader = DataLoader(data, batch_size=arguments.batch_size, sampler=sampler)
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    model = DistributedDataParallel(network)
    optimizer = torch.optim.Adam(model.parameters(), lr=arguments.lr)

    for epoch in range(1, arguments.epochs + 1):
        sampler.set_epoch(epoch)
        for batch, wanted in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(batch), wanted).backward()
            optimizer.step()
        if rank == 0:
            with torch.no_grad():
                accuracy = (network(test_x.float()).argmax(1) == test_y).float().mean().item()
            print(f"epoch={epoch} accuracy={accuracy:.6f}", flush=True)

    if rank == 0:
        folder = Path(os.environ.get("SM_MODEL_DIR", "model"))
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), folder / "model.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
