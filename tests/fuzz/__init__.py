"""Damaged and hostile files against the real loader, loop and command. `make fuzz` goes on for longer than tests do."""
