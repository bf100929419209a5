"""Tables of cases, made one after the other and in several processes."""
