"""Values that every package shares: owners and their names, specs, pods, changes, settings and errors.

Imports no other package of lfgpods and opens no connection. Of Kubernetes, it knows only the shape of an object.
"""
