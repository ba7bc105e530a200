"""Imports all that a command may need, for a process of which each test's commands are forks."""

import matplotlib.pyplot
import sklearn.linear_model

import focusdd.cli
import focusdd.comparison
import focusdd.demo
import focusdd.detect.comparison
import focusdd.labels.label
import focusdd.publishing
from focusdd.detect.yolo import ultralytics

ultralytics()
__all__ = ["focusdd", "matplotlib", "sklearn"]
