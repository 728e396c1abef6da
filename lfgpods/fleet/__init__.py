"""What concerns all owners of a host: list, sync and gc (garbage collection).

Compares the cluster, the volume folders and the store. To change one owner's objects, it goes through pods/.
"""
