"""Training steps that fit the feature workflows and write the data sets."""
