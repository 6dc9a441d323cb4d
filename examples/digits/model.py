"""A small multi-layer perceptron in numpy, and the digits it learns from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

CLASSES = 10
SPLIT_SEED = 2024
TEST_SAMPLES = 500
MOMENTUM = 0.9


def load_split() -> tuple[Array, Labels, Array, Labels]:
    """The 1,797 UCI digits, scaled to 0..1: training images and labels, test images and labels."""
    digits = load_digits()
    order = np.random.default_rng(SPLIT_SEED).permutation(len(digits.target))
    images = digits.data[order] / 16.0
    labels = digits.target[order].astype(np.int64)
    return images[TEST_SAMPLES:], labels[TEST_SAMPLES:], images[:TEST_SAMPLES], labels[:TEST_SAMPLES]


def softmax(logits: Array, temperature: float = 1.0) -> Array:
    """Class probabilities; a higher temperature gives softer ones."""
    shifted = (logits - logits.max(axis=1, keepdims=True)) / temperature
    weights = np.exp(shifted)
    return weights / weights.sum(axis=1, keepdims=True)


def one_hot(labels: Labels) -> Array:
    """Each label as a row of probabilities."""
    return np.eye(CLASSES)[labels]


class Mlp:
    """Layers of weights and biases with ReLU between them, trained by stochastic gradient descent with momentum."""

    def __init__(self, sizes: tuple[int, ...], seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.layers: list[tuple[Array, Array]] = [
            (rng.normal(0.0, np.sqrt(2.0 / fan_in), (fan_in, fan_out)), np.zeros(fan_out))
            for fan_in, fan_out in pairwise(sizes)
        ]
        self._velocity = [(np.zeros_like(w), np.zeros_like(b)) for w, b in self.layers]

    def activations(self, images: Array) -> list[Array]:
        """The input of every layer, then the logits."""
        values = [images]
        for depth, (weights, bias) in enumerate(self.layers):
            out = values[-1] @ weights + bias
            values.append(out if depth == len(self.layers) - 1 else np.maximum(out, 0.0))
        return values

    def logits(self, images: Array) -> Array:
        """One row of class scores an image."""
        return self.activations(images)[-1]

    def accuracy(self, images: Array, labels: Labels) -> float:
        """The share of images whose highest score is the right class."""
        return float((self.logits(images).argmax(axis=1) == labels).mean())

    def descend(self, values: list[Array], delta: Array, lr: float) -> None:
        """One step; `delta` is the gradient of the mean loss with respect to the logits in `values`."""
        for depth in reversed(range(len(self.layers))):
            weights, bias = self.layers[depth]
            below = values[depth]
            grads = (below.T @ delta, delta.sum(axis=0))
            delta = (delta @ weights.T) * (below > 0.0)
            for value, velocity, grad in zip((weights, bias), self._velocity[depth], grads, strict=True):
                velocity *= MOMENTUM
                velocity -= lr * grad
                value += velocity

    def save(self, path: Path) -> None:
        """Write the weights; the file appears whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {
            f"{name}{i}": array for i, pair in enumerate(self.layers) for name, array in zip("wb", pair, strict=True)
        }
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, **arrays)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Mlp:
        """The network that `save` wrote."""
        with np.load(path) as saved:
            layers = [(saved[f"w{i}"], saved[f"b{i}"]) for i in range(len(saved.files) // 2)]
        network = cls((layers[0][0].shape[0], *(w.shape[1] for w, _ in layers)), seed=0)
        network.layers = layers
        return network


def batches(count: int, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Shuffled row numbers, `size` at a time, each row once."""
    order = rng.permutation(count)
    for start in range(0, count, size):
        yield order[start : start + size]
