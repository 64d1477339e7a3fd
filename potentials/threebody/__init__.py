"""Three-body potentials: Stillinger-Weber and Tersoff."""
