"""The far side of `exq push`: puts specs and exq itself into place, whole or not at all.

Its modules import nothing but each other and are sent over SSH. They run on Python 3.6, since they are what says that
there is no newer one. What counts is always a link, and links are replaced in one step:
`SPECS -> .SPECS.pushed/RELEASE` and `~/.local/share/exq/current -> BUILD`. Whatever ends this program, the links lead
to complete folders.
"""

MODULES = ("names", "tools", "releases", "specs", "builds", "look", "serve")
"""In the order in which they need each other."""
