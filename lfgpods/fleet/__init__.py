"""Operations on all owners of a host: list, sync and gc (garbage collection).

They compare the cluster, the volume folders and the store. Changes to one owner's objects go through pods/.
"""
