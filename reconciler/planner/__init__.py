"""The decisions, one rule a file. Pure: facts and a time in, a plan out."""
