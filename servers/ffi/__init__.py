"""Declarations of system calls; nothing else declares one."""
