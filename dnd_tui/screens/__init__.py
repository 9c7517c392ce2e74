"""The screens of the app, a file or a folder each. `base.AppScreen` is what they share."""
