"""Drills: break a running home under load and compare the answers with bars."""
