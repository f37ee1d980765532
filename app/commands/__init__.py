"""The terminal's side of the loop: one file a group of commands."""
