"""Recipes: the settings of a step that learns or measures, typed once.

Each has a module of its own, so that an edit of one re-runs no other steps.
The config's sections are derived from them, and `job.recipe(FineTuning)` gives one back whole. No torch here.
"""
