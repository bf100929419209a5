"""From a finished training to a pack."""
