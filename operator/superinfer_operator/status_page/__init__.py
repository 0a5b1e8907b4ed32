"""The status page: what the operator sees and decides, for a person in a browser and as JSON.

`Board` is told of every look; `view` makes of it what is shown, pure; `pages` serves that, reads
only, and takes no script, form or foreign resource.
"""
