"""Command-line tools; a package so that the tests can import them."""
