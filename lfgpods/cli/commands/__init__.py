"""The commands, one file for each family of verbs: options to a call of `lfgpods.api`, and its result to output."""
