"""What programs call: PodManager, and the three functions for LFG.

Each method is one call into the rooms below. No logic is here, and no output.
"""
