"""Embedded-atom potentials: tables, the formats they come in, published parameters."""
