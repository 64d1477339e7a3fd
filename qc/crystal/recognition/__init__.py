"""Recognition: which crystal a set of atoms is, and where it is defective."""
