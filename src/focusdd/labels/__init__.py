"""Soft labels that travel with the dataset: made once by `focusdd label`, learnt from without a teacher."""
