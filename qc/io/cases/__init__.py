"""Case files: what a run is, read from TOML, validated, and built."""
