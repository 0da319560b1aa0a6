"""Pages of docs/ that are generated from settings, options and the contract."""
