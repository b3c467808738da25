"""Declarations of system calls, and nothing else: no other folder declares one."""
