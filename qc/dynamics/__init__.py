"""Molecular dynamics of models and atoms: Hamiltonian, Langevin, with heat and a ledger."""
