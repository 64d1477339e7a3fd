"""Small numerical helpers that know nothing of crystals or potentials."""
