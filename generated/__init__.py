"""Models made from the contract by `tox run -e generate`. Never edit them by hand."""
