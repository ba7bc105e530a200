"""Training and scoring object detectors on distilled detection datasets."""
