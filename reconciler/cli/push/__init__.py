"""What `exq push` does on this side: pack, decide, show, and remember."""
