"""Values that every room shares: owners and their names, specs, pods, changes, settings and errors.

Imports nothing of lfgpods and opens no connection. Knows Kubernetes only by the shape of an object.
"""
