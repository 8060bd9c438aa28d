"""Renderings of results. They draw what they are given and compute nothing that a caller of the API lacks."""
