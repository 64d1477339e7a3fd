"""Adapters to other programs' objects: ASE calculators."""
