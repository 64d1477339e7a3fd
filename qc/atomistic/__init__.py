"""Sites as atoms: neighbour lists, energies and forces, bulk properties."""
