"""The Drop screen."""
