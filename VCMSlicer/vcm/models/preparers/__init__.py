"""How conditions become what a control sees."""
