"""The sections of the module's panel, a file each, from the model at the top to the results at the bottom."""
