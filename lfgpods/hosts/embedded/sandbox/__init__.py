"""Containers as processes of this machine. Knows nothing of Kubernetes."""
