"""Folders of runs: what is written as they go, and going on after a stop."""
