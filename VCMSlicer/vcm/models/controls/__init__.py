"""Trained modules that steer a backbone by conditions."""
