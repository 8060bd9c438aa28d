"""Calibrate a machine: what its kernels take, measured in networks, and latencies predicted from that."""
