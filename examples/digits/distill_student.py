"""Distill a teacher into a one-layer student that sees few labels and many soft targets.

The student learns from two things: the labels of a small subset, and the teacher's softened answers on shifted,
noisy copies of all training images (the transfer set, which needs no labels).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
from pathlib import Path

import numpy as np

from model import Array, Mlp, batches, load_split, one_hot, softmax

SIDE = 8
SHIFTS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n_hidden", type=int, required=True, help="units in the student's hidden layer")
    parser.add_argument("--lr", required=True, help="learning rate; its text goes into the result's name as written")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--teacher", type=Path, required=True, help="the teacher's checkpoint (.npz)")
    parser.add_argument("--out_dir", type=Path, required=True, help="folder for the result")
    parser.add_argument("--n_labelled", type=int, default=100, help="how many training labels the student may see")
    parser.add_argument("--subset_seed", type=int, default=2024, help="which labels those are")
    parser.add_argument("--copies", type=int, default=3, help="noisy copies of each shift in the transfer set")
    parser.add_argument("--epochs", type=int, default=4, help="passes over the transfer set")
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--temperature", type=float, default=3.0)
    parser.add_argument("--label_weight", type=float, default=0.3, help="the labels' share of the loss")
    parser.add_argument("--crowded_job", help="the id of a job that finds the machine's memory nearly full at first")
    parser.add_argument("--crowded_mib", type=int, default=8, help="how much is left for it on its first attempt")
    return parser.parse_args()


def share_memory(args: argparse.Namespace) -> None:
    """On the first attempt of the crowded job, cap this process as a neighbour that fills the memory would."""
    crowded = args.crowded_job is not None and os.environ.get("EXQ_JOB") == args.crowded_job
    if not crowded or os.environ.get("EXQ_ATTEMPT_NUMBER") != "1":
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit_bytes = pages * resource.getpagesize() + args.crowded_mib * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    print(f"only {args.crowded_mib} MiB of memory are left for this attempt", flush=True)


def transfer_set(images: Array, copies: int, rng: np.random.Generator) -> Array:
    """Every image shifted by up to a pixel each way, `copies` times with fresh noise."""
    squares = images.reshape(-1, SIDE, SIDE)
    padded = np.pad(squares, ((0, 0), (1, 1), (1, 1)))
    out = np.empty((copies * len(SHIFTS) * len(images), SIDE * SIDE))
    for block, (dy, dx) in zip(np.split(out, copies * len(SHIFTS)), SHIFTS * copies, strict=True):
        block[:] = padded[:, 1 + dy : 1 + dy + SIDE, 1 + dx : 1 + dx + SIDE].reshape(len(images), -1)
        block += rng.normal(0.0, 0.05, block.shape)
    return out


def train(args: argparse.Namespace, student: Mlp, images: Array, soft: Array, labelled: Array, hard: Array) -> None:
    """Descend on the soft targets of the transfer set and the true labels of the subset, mixed in each step."""
    rng = np.random.default_rng(args.seed)
    for epoch in range(1, args.epochs + 1):
        for rows in batches(len(images), args.batch_size, rng):
            chosen = rng.integers(len(labelled), size=len(rows) // 4 + 1)
            values = student.activations(np.concatenate([images[rows], labelled[chosen]]))
            on_soft, on_hard = np.split(values[-1], [len(rows)])
            # the loss is T * T * KL, so the gradient keeps its size as the temperature T changes
            pull = (softmax(on_soft, args.temperature) - soft[rows]) * args.temperature / len(rows)
            push = (softmax(on_hard) - hard[chosen]) / len(chosen)
            delta = np.concatenate([(1.0 - args.label_weight) * pull, args.label_weight * push])
            student.descend(values, delta, float(args.lr))
        print(f"epoch {epoch} of {args.epochs}", flush=True)


def write_result(args: argparse.Namespace, result: dict[str, object]) -> Path:
    """Write the result; the file appears whole or not at all."""
    args.out_dir.mkdir(parents=True, exist_ok=True)
    path: Path = args.out_dir / f"distill_N{args.n_hidden}_ep{args.epochs}_lr{args.lr}_seed{args.seed}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(result, indent=2) + "\n")
    partial.replace(path)
    return path


def main() -> None:
    args = parse_args()
    images, labels, test_images, test_labels = load_split()
    teacher = Mlp.load(args.teacher)
    share_memory(args)
    transfer = transfer_set(images, args.copies, np.random.default_rng(args.seed))
    soft = softmax(teacher.logits(transfer), args.temperature)
    subset = np.random.default_rng(args.subset_seed).permutation(len(images))[: args.n_labelled]
    student = Mlp((images.shape[1], args.n_hidden, soft.shape[1]), args.seed)
    train(args, student, transfer, soft, images[subset], one_hot(labels[subset]))
    accuracy = student.accuracy(test_images, test_labels)
    result = {
        "n_hidden": args.n_hidden,
        "lr": float(args.lr),
        "seed": args.seed,
        "n_labelled": args.n_labelled,
        "transfer_samples": len(transfer),
        "teacher_accuracy": teacher.accuracy(test_images, test_labels),
        "test_accuracy": accuracy,
    }
    print(f"test accuracy {accuracy:.4f}; wrote {write_result(args, result)}")


if __name__ == "__main__":
    main()
