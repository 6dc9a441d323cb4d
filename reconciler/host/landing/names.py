"""What both sides of a push know by name. Nothing is imported here: a loop needs it, too."""

LAST = "last-push.json"
"""Beside the releases: replaced after each push, which wakes a running loop."""

NOT_SENT = ("__pycache__", "experiment_queue", "collected")


def is_sent(name: str) -> bool:
    """Whether a file or folder of this name is a part of the specs. Hidden ones, copies that editors make, and what exq
    itself leaves are none: they are not packed, and do not count as edits where the specs were pushed to."""
    return not name.startswith(".") and not name.endswith(("~", ".swp", ".tmp")) and name not in NOT_SENT
