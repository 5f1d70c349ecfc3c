"""Define the features for Feast: definitions, online store and registry."""
