"""The example application of the demo and the tests: SQL files, nothing to import."""
