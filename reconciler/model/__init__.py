"""Frozen dataclasses and closed enums, shared by every layer. No I/O, no clock, no decisions."""
