"""The landing zone: names of its files, its days and its quarantine."""
