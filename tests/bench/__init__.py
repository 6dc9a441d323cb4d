"""Speed and memory, as ratios within one run. `make bench` prints the table of docs/benchmarks.md."""
