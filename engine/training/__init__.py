"""The one training loop, its loss and schedule."""
