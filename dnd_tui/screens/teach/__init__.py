"""Letting a model answer prompts: dialogs of the Drop screen."""
