"""The screens of the app, a package each, and dialogs that several of them open; `base` is what they share."""
