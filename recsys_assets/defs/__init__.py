"""Define assets, checks, jobs and sensors, in one folder per stage."""
