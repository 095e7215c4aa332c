"""The labelling page: draw a few labels, adapt, see the map, label where it is unsure."""
