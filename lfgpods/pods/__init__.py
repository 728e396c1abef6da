"""One owner's pod, from create to purge: its objects read, deployed, removed and locked, and exec in it.

Everything about one owner is here; what concerns all owners is in fleet/. The cluster is asked through kube/, and the
store remembers the answer.
"""
