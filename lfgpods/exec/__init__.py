"""Commands in a pod with a given name: the command, one shell and its protocol, and the pool of open shells.

Output comes from `kubectl exec` as bytes. Whose pod it is, and whether it runs, is known in pods/.
"""
