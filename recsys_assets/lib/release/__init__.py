"""Builds, numbers and reads releases, and reads the champion."""
