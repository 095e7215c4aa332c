"""Regions for images of unknown place: groups of images that look alike, or of any images.

`grouping.group_images` does it: look at every image (`looks`), describe what is seen (`features`:
`statistics` or `networks`), group the descriptions (`clustering`, `choice`), and show the result
(`pictures`).
"""
