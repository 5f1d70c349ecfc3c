"""The command line: ``recsys …``."""
