"""Where problems come from and how answers are checked: one file a task."""
