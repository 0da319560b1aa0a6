"""The key that the command is given in tests, to be found in no report."""

KEY = "key-for-the-load-test"
