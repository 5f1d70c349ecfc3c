"""Figures and tables as SVG and Markdown."""
