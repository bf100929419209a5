"""Where a head lies relative to another: poses, how they are found, how good they are, and files that hold them."""
