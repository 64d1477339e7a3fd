"""Pair potentials: analytic forms, tables and their files; what central forces share."""
