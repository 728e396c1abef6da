"""kubectl's vocabulary: verbs, lists, errors, the types of objects, labels, nodes, and what conditions mean.

It reads what kubectl prints on a host. Whose pod or volume an object is, and what happens to it, is decided in pods/.
"""
