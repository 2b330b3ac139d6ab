"""The programs of benchmarks.peers, as a user writes them: python -m benchmarks.peer_programs examples --root data

Each is written from its published description. Lines that mention `clock.` only measure, and are not counted as lines
that a user writes. What only one program needs is imported within it, so that the others do not wait for it.
"""

import argparse
from collections import deque
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import ConcatDataset, DataLoader, random_split
from torchvision import datasets, transforms

from benchmarks.peers import Clock


def examples_network() -> nn.Module:
    """Two convolutions without padding, one pooling: 1,199,882 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(9216, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 10),
        nn.LogSoftmax(1),
    )


def examples(root: str, epochs: int, clock: Clock) -> None:
    """MNIST of pytorch/examples: https://github.com/pytorch/examples/tree/main/mnist

    Adadelta at 1.0, times 0.7 after each epoch; batches of 64, tests after each epoch in batches of 1,000; logs every
    tenth step; no worker processes, as that program has none on a CPU.
    """
    torch.manual_seed(1)
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    train_set = datasets.MNIST(root, train=True, transform=transform)
    test_set = datasets.MNIST(root, train=False, transform=transform)
    train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=1000)
    model = examples_network()
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    for epoch in range(1, epochs + 1):
        clock.epoch_starts(len(train_set))
        model.train()
        for step, (images, labels) in enumerate(train_loader):
            optimizer.zero_grad()
            loss = F.nll_loss(model(images), labels)
            loss.backward()
            optimizer.step()
            if step % 10 == 0:
                print(f"epoch {epoch}, step {step} of {len(train_loader)}: loss {loss.item():.6f}")
        model.eval()
        test_loss, correct = 0.0, 0
        with torch.no_grad():
            for images, labels in test_loader:
                log_probs = model(images)
                test_loss += F.nll_loss(log_probs, labels, reduction="sum").item()
                correct += (log_probs.argmax(1) == labels).sum().item()
        print(f"test: loss {test_loss / len(test_set):.4f}, {correct} of {len(test_set)} right")
        clock.epoch_ends(correct / len(test_set))
        scheduler.step()
    torch.save(model.state_dict(), "mnist_cnn.pt")


def lenet() -> nn.Module:
    """LeNet-5 with ReLU and max-pooling: 61,706 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def lightning(root: str, epochs: int, clock: Clock) -> None:
    """A plain LightningModule as tutorials write it: LeNet-5, Adam at 1e-3, batches of 64, the Trainer's defaults.

    Trains on 55,000 images and validates on 5,000 after each epoch; logs loss and accuracy at each step.
    """
    from lightning import LightningModule, Trainer
    from torchmetrics.classification import MulticlassAccuracy

    class Task(LightningModule):
        def __init__(self):
            super().__init__()
            self.model = lenet()
            self.train_acc = MulticlassAccuracy(10, average="micro")
            self.val_acc = MulticlassAccuracy(10, average="micro")
            self.test_acc = MulticlassAccuracy(10, average="micro")

        def forward(self, images):
            return self.model(images)

        def shared_step(self, batch, split, metric):
            images, labels = batch
            logits = self(images)
            loss = F.cross_entropy(logits, labels)
            metric(logits, labels)
            self.log(f"{split}_loss", loss, prog_bar=True)
            self.log(f"{split}_acc", metric, prog_bar=True)
            return loss

        def training_step(self, batch, batch_idx):
            return self.shared_step(batch, "train", self.train_acc)

        def validation_step(self, batch, batch_idx):
            self.shared_step(batch, "val", self.val_acc)

        def test_step(self, batch, batch_idx):
            self.shared_step(batch, "test", self.test_acc)

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    train_set, val_set = random_split(datasets.MNIST(root, train=True, transform=transform), [11 / 12, 1 / 12])
    train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=64)
    test_loader = DataLoader(datasets.MNIST(root, train=False, transform=transform), batch_size=64)
    task, trainer = Task(), Trainer(max_epochs=epochs)
    trainer.callbacks.insert(0, clock.callback(test_loader))
    trainer.fit(task, train_loader, val_loader)
    trainer.test(task, test_loader)


def template_network() -> nn.Module:
    """Linear 784-64-128-64-10 with batch normalisation: 67,978 parameters."""
    layers = []
    for inputs, outputs in ((784, 64), (64, 128), (128, 64)):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(64, 10))


def template(root: str, epochs: int, clock: Clock) -> None:
    """The module, data module and callbacks of https://github.com/ashleve/lightning-hydra-template at their defaults.

    An MLP, Adam at 1e-3, ReduceLROnPlateau on val/loss; batches of 128; all 70,000 images drawn into 55,000, 5,000 and
    10,000. Without its Hydra configuration, its summary and its progress bar by rich, which cost time and lines.
    """
    from lightning import LightningDataModule, LightningModule, Trainer
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
    from torchmetrics import MaxMetric, MeanMetric
    from torchmetrics.classification import Accuracy

    class MNISTModule(LightningModule):
        def __init__(self):
            super().__init__()
            self.net = template_network()
            self.accuracies = nn.ModuleDict({part: Accuracy("multiclass", num_classes=10) for part in self.parts})
            self.losses = nn.ModuleDict({part: MeanMetric() for part in self.parts})
            self.best = MaxMetric()

        parts = ("for_train", "for_val", "for_test")

        def forward(self, images):
            return self.net(images)

        def on_train_start(self):
            for metric in (self.accuracies["for_val"], self.losses["for_val"], self.best):
                metric.reset()

        def update(self, batch, split):
            images, labels = batch
            logits = self(images)
            loss = F.cross_entropy(logits, labels)
            accuracy, mean = self.accuracies[f"for_{split}"], self.losses[f"for_{split}"]
            mean(loss)
            accuracy(logits.argmax(1), labels)
            self.log(f"{split}/loss", mean, on_step=False, on_epoch=True, prog_bar=True)
            self.log(f"{split}/acc", accuracy, on_step=False, on_epoch=True, prog_bar=True)
            return loss

        def training_step(self, batch, batch_idx):
            return self.update(batch, "train")

        def validation_step(self, batch, batch_idx):
            self.update(batch, "val")

        def on_validation_epoch_end(self):
            self.best(self.accuracies["for_val"].compute())
            self.log("val/acc_best", self.best.compute(), sync_dist=True, prog_bar=True)

        def test_step(self, batch, batch_idx):
            self.update(batch, "test")

        def configure_optimizers(self):
            optimizer = torch.optim.Adam(self.parameters(), lr=1e-3, weight_decay=0.0)
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "min", factor=0.1, patience=10)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss"}}

    class MNISTData(LightningDataModule):
        def setup(self, stage):
            transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
            both = ConcatDataset([datasets.MNIST(root, train=train, transform=transform) for train in (True, False)])
            draw = torch.Generator().manual_seed(42)
            self.train_set, self.val_set, self.test_set = random_split(both, [11 / 14, 1 / 14, 2 / 14], draw)

        def train_dataloader(self):
            return DataLoader(self.train_set, batch_size=128, shuffle=True)

        def val_dataloader(self):
            return DataLoader(self.val_set, batch_size=128)

        def test_dataloader(self):
            return DataLoader(self.test_set, batch_size=128)

    checkpoint = ModelCheckpoint("checkpoints", "epoch_{epoch:03d}", "val/acc", save_last=True, mode="max")
    stopping = EarlyStopping("val/acc", patience=100, mode="max")
    data, task = MNISTData(), MNISTModule()
    trainer = Trainer(max_epochs=epochs, callbacks=[checkpoint, stopping], logger=False)
    trainer.callbacks.insert(0, clock.callback())
    trainer.fit(task, data)
    trainer.test(task, data, ckpt_path=checkpoint.best_model_path)


class Meter:
    """The latest values of one measure, and the mean over all."""

    def __init__(self):
        self.latest, self.total, self.count = deque(maxlen=20), 0.0, 0

    def update(self, value: float, count: int) -> None:
        """Take in the mean of `count` images."""
        self.latest.append(value)
        self.total, self.count = self.total + value * count, self.count + count

    def __str__(self) -> str:
        return f"{torch.tensor(list(self.latest)).median():.4f} ({self.total / self.count:.4f})"


def top_k(logits: torch.Tensor, labels: torch.Tensor, k: int) -> float:
    """The share of images whose label is among the k likeliest, in per cent."""
    return 100 * (logits.topk(k).indices == labels[:, None]).any(1).float().mean().item()


def reference(root: str, epochs: int, clock: Clock) -> None:
    """The loop of https://github.com/pytorch/vision/tree/main/references/classification, with LeNet-5.

    Not with a ResNet-18 on its crops of 224x224: at 1.8 billion multiplications an image forward, an epoch on two cores
    takes over an hour. Its batches of 32, SGD with momentum 0.9 and weight decay 1e-4, loss and accuracies read at each
    step, evaluation and checkpoint after each epoch. lr 0.01, for at its 0.1 the loss of this network is still about 2
    after 500 steps (0.14 at 0.01); times 0.1 after a third of the epochs, as there (30 of 90). No worker processes,
    like the other programs.
    """
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    train_set = datasets.MNIST(root, train=True, transform=transform)
    test_set = datasets.MNIST(root, train=False, transform=transform)
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=32)
    model, criterion = lenet(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=max(1, epochs // 3), gamma=0.1)
    for epoch in range(epochs):
        clock.epoch_starts(len(train_set))
        model.train()
        meters = {name: Meter() for name in ("loss", "acc1", "acc5")}
        for step, (images, labels) in enumerate(train_loader):
            logits = model(images)
            loss = criterion(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            meters["loss"].update(loss.item(), len(images))
            meters["acc1"].update(top_k(logits, labels, 1), len(images))
            meters["acc5"].update(top_k(logits, labels, 5), len(images))
            if step % 10 == 0:
                print(f"epoch {epoch} [{step}/{len(train_loader)}]", *(f"{k}: {v}" for k, v in meters.items()))
        scheduler.step()
        model.eval()
        meters = {name: Meter() for name in ("loss", "acc1", "acc5")}
        with torch.inference_mode():
            for images, labels in test_loader:
                logits = model(images)
                meters["loss"].update(criterion(logits, labels).item(), len(images))
                meters["acc1"].update(top_k(logits, labels, 1), len(images))
                meters["acc5"].update(top_k(logits, labels, 5), len(images))
        print("test", *(f"{k}: {v}" for k, v in meters.items()))
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
        torch.save(state, f"model_{epoch}.pth")
        torch.save(state, "checkpoint.pth")
        clock.epoch_ends(meters["acc1"].total / meters["acc1"].count / 100)


PROGRAMS = {"examples": examples, "lightning": lightning, "template": template, "reference": reference}


def keep_few(images: int) -> None:
    """Cut torchvision's MNIST to its first `images` training images and a fifth as many test images."""

    class MNIST(datasets.MNIST):  # torchvision takes the folder's name from the class
        def __init__(self, root, train=True, **options):
            super().__init__(root, train=train, **options)
            count = images if train else max(images // 5, 1)
            self.data, self.targets = self.data[:count], self.targets[:count]

    datasets.MNIST = MNIST


def main() -> None:
    """Run one program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("--root", default="data", help="folder with MNIST/raw")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--images", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.images:
        keep_few(args.images)
    PROGRAMS[args.program](str(Path(args.root).resolve()), args.epochs, Clock())


if __name__ == "__main__":
    main()
