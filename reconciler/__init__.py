"""exq: a declarative reconciler for batches of ML experiments on shared GPU machines."""

__version__ = "0.1.0"
