"""One file per verb of the `landmeta` command."""
