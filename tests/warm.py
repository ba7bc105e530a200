"""Imports all that a command may need, for a process of which each test's commands are forks."""

import matplotlib.pyplot
import sklearn.linear_model

import focusdd.cli.app
import focusdd.comparison.compare
import focusdd.demo.run
import focusdd.labels.label
import focusdd.tasks.classify.publish
import focusdd.tasks.detect.task
from focusdd.tasks.detect.yolo import ultralytics

ultralytics()
__all__ = ["focusdd", "matplotlib", "sklearn"]
