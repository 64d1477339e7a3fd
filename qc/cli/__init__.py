"""The command line: ``qc run``, ``qc bulk``, ``qc detect``, ``qc info``."""
