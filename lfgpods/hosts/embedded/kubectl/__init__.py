"""kubectl's command line: its verbs, flags and output formats, over the embedded cluster."""
