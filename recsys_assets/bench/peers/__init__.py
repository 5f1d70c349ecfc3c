"""Other recommenders of the field on the splits of shops, beside what serves."""
