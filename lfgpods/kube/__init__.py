"""kubectl and what it answers: typed verbs, lists, errors, labels, nodes, and what conditions and reasons mean.

Its objects are what kubectl prints on a host. Owners, volumes and the store are not its business.
"""
