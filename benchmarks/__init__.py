"""`python -m benchmarks` prints ratios against a baseline measured in the same run; absolute figures depend on the machine."""
