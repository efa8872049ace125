"""One program for each peer: starts it, runs the workloads on it, and prints their figures as JSON."""
