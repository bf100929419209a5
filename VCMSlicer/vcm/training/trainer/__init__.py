"""The one trainer, and what all trainings share."""
