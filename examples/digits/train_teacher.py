"""Train a teacher on every labelled digit and save its weights."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from model import Mlp, batches, load_split, one_hot, softmax


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n_hidden", type=int, required=True, help="units in each of the two hidden layers")
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, required=True, help="where the weights go (.npz)")
    args = parser.parse_args()

    images, labels, test_images, test_labels = load_split()
    targets = one_hot(labels)
    teacher = Mlp((images.shape[1], args.n_hidden, args.n_hidden, targets.shape[1]), args.seed)
    rng = np.random.default_rng(args.seed)
    for epoch in range(1, args.epochs + 1):
        for rows in batches(len(images), args.batch_size, rng):
            values = teacher.activations(images[rows])
            teacher.descend(values, (softmax(values[-1]) - targets[rows]) / len(rows), args.lr)
        if epoch % 10 == 0 or epoch == args.epochs:
            print(f"epoch {epoch:3d}: test accuracy {teacher.accuracy(test_images, test_labels):.4f}", flush=True)
    teacher.save(args.checkpoint)
    print(f"saved {args.checkpoint}")


if __name__ == "__main__":
    main()
