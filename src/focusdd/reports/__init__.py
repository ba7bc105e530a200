"""The report: one self-contained page about everything that a folder holds."""
