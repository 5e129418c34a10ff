"""Recipes: what a step that learns or measures is told, typed once. A module each, so that none re-runs the others.

The config's sections are derived from them, and `job.recipe(FineTuning)` gives one back whole. No torch here.
"""
