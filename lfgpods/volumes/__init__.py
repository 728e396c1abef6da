"""An owner's data: folders of the host, and volumes that the cluster provisions by a storage class.

Folders are read and changed by shell scripts on the host, provisioned volumes by kubectl. When a volume is kept or
purged is decided in pods/.
"""
