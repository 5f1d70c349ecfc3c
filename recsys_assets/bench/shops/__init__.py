"""Small shops in the forms of public logs, from files to a recommendation over HTTP."""
