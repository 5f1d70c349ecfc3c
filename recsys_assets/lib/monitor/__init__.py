"""Watch predictions that were served: estimates, divergences, verdicts and alarms, without data."""
