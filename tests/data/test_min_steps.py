"""Few images fill long epochs."""

import torch

from src.data.datamodule import ImageData


def test_few_images_are_repeated_in_new_orders_until_an_epoch_is_full(data_root):
    data = ImageData("kmnist", root=str(data_root), download=False, batch_size=8, val=50, shots=1, min_steps=6)
    data.setup()
    loader = data.train_dataloader()
    rows = list(loader.sampler)
    assert len(rows) == len(loader) == 6
    assert all(len(batch) == 8 for batch in rows)
    assert torch.cat(rows)[:40].bincount().tolist() == [4] * 10
    assert torch.cat(rows)[:10].tolist() != torch.cat(rows)[10:20].tolist()
