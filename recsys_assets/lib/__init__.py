"""Do the work of the graph: plain functions and small classes, without Dagster."""
