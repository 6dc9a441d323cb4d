"""The `exq` command: it reads arguments, asks the loop for a snapshot, prints a view. One small module a verb."""
