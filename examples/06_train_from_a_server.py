"""Train on a distilled set while a server still makes it (needs the extras server and evaluate)."""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from limbeck.client import Client, DistilledDataset

photos = Path(__file__).parent / "data/sign_digits/test"

with tempfile.TemporaryDirectory() as folder:
    # On another machine it would be running, at HOST:PORT; the client waits until it answers.
    address = f"unix:{folder}/server.sock"
    command = [sys.executable, "-m", "limbeck_server.cli", "serve", "--root", f"{folder}/server"]
    server = subprocess.Popen([*command, "--address", address, "--metrics-address", ""], stderr=subprocess.DEVNULL)
    try:
        with Client(address) as client:
            job = client.submit("d4m", client.upload_dataset(photos), ipc=2, settings={"num_steps": 5})
            dataset = DistilledDataset(client, job, cache=folder)
            network = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten(), torch.nn.LazyLinear(10))
            optimizer = torch.optim.Adam(network.parameters(), 0.01)
            for epoch in range(5):
                dataset.set_epoch(epoch)
                for images, labels in DataLoader(dataset, batch_size=10):
                    loss = torch.nn.functional.cross_entropy(network(images), labels)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    print(f"epoch {epoch}: {len(labels)} images, loss {loss.item():.2f}, {client.job(job).state}")
    finally:
        server.terminate()
        server.wait()
