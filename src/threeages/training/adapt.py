"""A pretrained network made fit for small and poor faces, from what it makes of large and clear ones."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from threeages.config import TrainConfig
from threeages.data.cache import open_cache
from threeages.manifest import Manifest, atomic_path, find_rows
from threeages.models.registry import SIGNATURES
from threeages.training.activations import Inputs, Stretch
from threeages.training.fit import batches, choose_precision, draw_views, open_inputs
from threeages.training.memory import keep_freed_memory
from threeages.training.run import create_data, create_model, open_data

BATCH = 64
LR = 4e-4
WARM_UP = 0.05  # of all steps
SMALL = 1e-3  # keeps features that are never on from dividing by zero


def adapt(
    manifest: Manifest,
    config: TrainConfig,
    out: Path,
    *,
    only: tuple[str, str] | None = None,
    epochs: int = 4,
    cache_dir: Path | None = None,
) -> Iterator[float]:
    """Teach the recipe's network to see in any view of a face what it sees in a clear one; written to `out`.

    The teacher is the pretrained network at the size its signature names, on each face as in use; the
    student starts from the same weights and is given the recipe's views of the face (data.views) at the
    recipe's size. No label is used, and no row that the fold of `config` holds out; `only` leaves the rows
    with a value in a column. Yields the loss of every epoch, smooth L1 in standard deviations of each
    feature. The file is for `--weights`; what it brings is in results/experiments.csv.
    """
    keep_freed_memory()
    cache, split = open_data(manifest, config, cache_dir)
    rows = find_rows(manifest.columns, *only, split.train) if only else split.train
    wanted = torch.from_numpy(np.asarray(_open_teacher(manifest, config, cache_dir).values[:], np.float32))
    spread = wanted[rows].std(dim=0) + SMALL
    wanted /= spread

    fabric = Fabric(accelerator="auto", devices=1, precision=choose_precision(config.precision))
    spread = spread.to(fabric.device)
    student = create_model(config, manifest)
    module = Stretch(student, 0, len(student.net.stages))
    optimizer = torch.optim.Adam(student.net.features.parameters(), fused=True)
    steps = epochs * -(-len(rows) // BATCH)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, steps, pct_start=WARM_UP, cycle_momentum=False)
    net, optimizer = fabric.setup(module.train(), optimizer)
    for epoch in range(epochs):
        rng = np.random.default_rng((config.seed, epoch))
        order = list(batches(rng.permutation(rows), BATCH))
        total = 0.0
        for batch in track(order, description=f"Epoch {epoch + 1}"):
            views = draw_views(batch, len(manifest), config.views, rng)
            pixels = torch.from_numpy(cache.pixels[views]).to(fabric.device)
            found: Tensor = net(pixels).float() / spread
            loss = F.smooth_l1_loss(found, wanted[batch].to(fabric.device))
            optimizer.zero_grad()
            fabric.backward(loss)
            optimizer.step()
            rate.step()
            total += loss.item() * len(batch)
        yield total / len(rows)
    with atomic_path(out) as part:
        save_file({k: v.contiguous().cpu() for k, v in student.net.features.state_dict().items()}, part)


def _open_teacher(manifest: Manifest, config: TrainConfig, cache_dir: Path | None) -> Inputs:
    """The pretrained network's features float16 `(n, f)` of every row, as in use, at its own size."""
    size = SIGNATURES[config.model].input_size
    config = replace(config, input_size=size, views=1, epochs=0, head_epochs=1)
    model = create_model(config, manifest)
    cache = open_cache(manifest, size, alignment=model.signature.alignment, folder=cache_dir)
    data = create_data(manifest, model, cache, cache_dir)
    return open_inputs(model, data, config.phases()[-1], config)
