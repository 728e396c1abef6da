"""A cluster of one node: its objects, their controllers and kubelet. Knows nothing of kubectl but its error texts."""
