"""One page on which a person sees what the tasks of a task set are."""
