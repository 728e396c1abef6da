"""One owner's pod: create, exec, status, delete and purge, under the owner's lock.

Operations on all owners are in fleet/. kubectl is called through kube/ only.
"""
