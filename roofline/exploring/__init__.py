"""Whole design spaces: draw networks, count and predict them, on one machine or a cluster, and look at all of them."""
