"""From a generator to translated frames.

docs/architecture.md says what each module is for, and so does its first line.
"""
