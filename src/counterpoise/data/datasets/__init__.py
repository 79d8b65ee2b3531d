"""One module per known data set, and the catalogue of data sets."""
