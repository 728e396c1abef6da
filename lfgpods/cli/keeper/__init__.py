"""The keeper: a process that stays for the next exec, in the manner of OpenSSH's ControlPersist.

`client` hands a command line over, `server` runs it, `launcher` starts keepers and finds them, and `identity` is what
they agree on. Which commands there are is not known here.
"""
