"""Raw satellite data in, task set out. One reader per source, one file each."""
