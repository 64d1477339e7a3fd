"""Any ASE calculator as a potential of whole patches and cells."""
